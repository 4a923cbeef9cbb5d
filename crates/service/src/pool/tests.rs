use tokio::{sync::mpsc, task::yield_now};

use super::*;

type Names = Pool<&'static str>;

fn is_served(taking: &mut Taking<&'static str>) -> Option<Permit<&'static str>> {
    match Pin::new(taking).poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn a_holder_never_has_more_than_its_part() {
    let pool = Names::new(8, 2);
    let first = pool.try_take(&"a", 2).unwrap();
    assert!(pool.try_take(&"a", 1).is_none(), "though six are free");
    assert!(pool.take(&"a", 3).is_none(), "it could never be served");

    let mut waits = pool.take(&"a", 1).unwrap();
    assert!(is_served(&mut waits).is_none());
    let other = pool.try_take(&"b", 2);
    assert!(other.is_some(), "a holder whose part is used up holds up nobody");
    drop(first);
    assert!(is_served(&mut waits).is_some());
}

#[test]
fn who_is_next_has_the_next_free_units() {
    let pool = Names::new(4, 4);
    let (a, b) = (pool.try_take(&"a", 2).unwrap(), pool.try_take(&"b", 2).unwrap());
    let mut large = pool.take(&"c", 4).unwrap();
    drop(a);
    assert!(pool.try_take(&"a", 1).is_none(), "small requests can't starve a large one");
    let mut small = pool.take(&"a", 1).unwrap();
    assert!(is_served(&mut small).is_none());
    drop(b);
    let permit = is_served(&mut large).unwrap();
    assert!(is_served(&mut small).is_none());
    drop(permit);
    assert!(is_served(&mut small).is_some());
}

#[test]
fn a_call_that_is_dropped_leaves_the_queue_and_loses_nothing() {
    let pool = Names::new(4, 4);
    let all = pool.try_take(&"a", 4).unwrap();
    let (gone, mut waits) = (pool.take(&"b", 3).unwrap(), pool.take(&"b", 4).unwrap());
    drop(gone);
    drop(all);
    let permit = is_served(&mut waits).unwrap();
    assert_eq!(permit.units(), 4);
    drop((waits, permit));

    // One that was served and never looked.
    let unseen = pool.take(&"c", 4).unwrap();
    assert_eq!(pool.free(), 0);
    drop(unseen);
    assert_eq!(pool.free(), 4);
    assert!(pool.state().holders.is_empty() && pool.state().turn.is_empty(), "idle holders are forgotten");
}

#[test]
fn permits_of_a_holder_are_one_when_they_are_merged() {
    let pool = Names::new(4, 4);
    let mut one = pool.try_take(&"a", 1).unwrap();
    one.merge(pool.try_take(&"a", 2).unwrap()).unwrap();
    assert_eq!((one.units(), pool.free(), pool.held_by(&"a")), (3, 1, 3));
    let other = one.merge(pool.try_take(&"b", 1).unwrap()).unwrap_err();
    assert_eq!((one.units(), other.units()), (3, 1), "another holder's stay as they are");
    drop((one, other));
    assert_eq!((pool.free(), pool.held_by(&"a")), (4, 0));
}

/// A holder with a hundred calls and one with a single caller: the one is served every second time.
#[tokio::test]
async fn holders_are_served_in_turn_and_not_their_calls() {
    let pool = Names::new(1, 1);
    let (served, mut order) = mpsc::unbounded_channel();
    let use_it = |holder: &'static str, times: usize| {
        let (pool, served) = (pool.clone(), served.clone());
        tokio::spawn(async move {
            for _ in 0..times {
                let permit = pool.take(&holder, 1).unwrap().await;
                served.send(holder).unwrap();
                yield_now().await;
                drop(permit);
            }
        })
    };
    let mut greedy: Vec<_> = (0..100).map(|_| use_it("greedy", 1)).collect();
    greedy.push(use_it("modest", 20));
    let mut seen = Vec::new();
    while seen.len() < 42 {
        seen.push(order.recv().await.unwrap());
    }
    let modest = seen.iter().filter(|holder| **holder == "modest").count();
    assert!((19..=21).contains(&modest), "{modest} of 42: {seen:?}");
}

/// Many holders take and drop at random; what they hold together is never more than there is, and at the end all is free.
#[tokio::test]
async fn units_are_neither_lost_nor_made() {
    let pool = Pool::<usize>::new(10, 4);
    let mut all = tokio::task::JoinSet::new();
    for holder in 0..40_usize {
        let pool = pool.clone();
        all.spawn(async move {
            for round in 0..50_usize {
                let units = 1 + (holder * 7 + round * 3) % 4;
                let taking = pool.take(&(holder % 5), units).unwrap();
                if (holder + round) % 6 == 0 {
                    drop(taking);
                    continue;
                }
                let permit = taking.await;
                assert!(pool.held_by(&(holder % 5)) <= 4);
                yield_now().await;
                drop(permit);
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(pool.free(), 10);
    assert!(pool.state().holders.is_empty());
}

#[test]
fn what_a_permit_gives_back_goes_to_who_waits() {
    let pool = Names::new(4, 4);
    let mut permit = pool.try_take(&"a", 4).unwrap();
    let mut waits = pool.take(&"b", 3).unwrap();
    assert!(is_served(&mut waits).is_none());
    permit.keep(9);
    assert_eq!(permit.units(), 4, "it gives back, and takes nothing");
    permit.keep(1);
    let other = is_served(&mut waits).unwrap();
    assert_eq!((permit.units(), other.units(), pool.free()), (1, 3, 0));
    drop((permit, other));
    assert_eq!(pool.free(), 4);
}

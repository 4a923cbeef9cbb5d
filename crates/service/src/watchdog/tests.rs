use std::sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering::Relaxed, mpsc};

use tokio_util::sync::CancellationToken;

use super::*;

const BOUND: Duration = Duration::from_secs(10);

fn looks(watchdog: &Watchdog, looks: u32) {
    (0..looks).for_each(|_| watchdog.look(LOOK));
}

#[test]
fn who_is_at_work_and_gives_no_beat_hangs_and_who_rests_does_not() {
    let watchdog = Watchdog::default();
    let part = watchdog.part("tail", BOUND);
    let beat = part.begin();
    looks(&watchdog, 60);
    assert_eq!(watchdog.trouble(), None, "it was never at work");

    beat.work();
    looks(&watchdog, 10);
    assert_eq!(watchdog.trouble(), None);
    looks(&watchdog, 1);
    assert_eq!(watchdog.trouble().unwrap(), "tail: hangs: no sign of life for 10 s");

    beat.rest();
    looks(&watchdog, 4);
    assert!(watchdog.trouble().is_some(), "it must run for a while first");
    looks(&watchdog, 3);
    assert_eq!(watchdog.trouble(), None);
}

#[test]
fn who_beats_never_hangs_however_long_it_works() {
    let watchdog = Watchdog::default();
    let beat = watchdog.part("tail", BOUND).begin();
    let working = beat.working();
    for _ in 0..100 {
        looks(&watchdog, 9);
        beat.beat();
    }
    drop(working);
    looks(&watchdog, 60);
    assert_eq!(watchdog.trouble(), None);
}

/// What the wall clock says meanwhile plays no part: the watchdog of a machine that stood still has not looked.
#[test]
fn only_time_that_the_watchdog_saw_pass_counts() {
    let watchdog = Watchdog::default();
    let beat = watchdog.part("tail", Duration::from_millis(20)).begin();
    beat.work();
    watchdog.look(Duration::from_millis(1));
    std::thread::sleep(Duration::from_millis(50));
    watchdog.look(Duration::from_millis(1));
    assert_eq!(watchdog.trouble(), None);
}

#[test]
fn a_beat_of_what_was_started_before_does_not_count_for_what_runs_now() {
    let watchdog = Watchdog::default();
    let part = watchdog.part("tail", BOUND);
    let old = part.begin();
    let new = part.begin();
    new.work();
    for _ in 0..20 {
        old.beat();
        looks(&watchdog, 1);
    }
    assert!(watchdog.trouble().is_some());
}

#[tokio::test]
async fn a_thread_that_panics_is_reported_until_another_has_run_for_a_while() {
    let watchdog = Watchdog::default();
    let part = watchdog.part("tail", BOUND);
    let mut running = part.start_thread(|_| panic!("a name that is no text")).unwrap();
    let fault = running.fault().await;
    assert_eq!(fault, Fault::Panicked("a name that is no text".to_owned()));
    part.fail(&fault);
    looks(&watchdog, 60);
    assert_eq!(watchdog.trouble().unwrap(), "tail: panicked: a name that is no text");

    let (end, ends) = mpsc::channel::<()>();
    let _running = part.start_thread(move |_| assert!(ends.recv().is_err())).unwrap();
    looks(&watchdog, 5);
    assert!(watchdog.trouble().is_some());
    looks(&watchdog, 1);
    assert_eq!(watchdog.trouble(), None);
    drop(end);
    let mut page = Page::default();
    watchdog.write(&mut page, "x");
    let page = page.finish();
    assert!(page.contains("x_part_healthy{part=\"tail\"} 1"), "{page}");
    assert!(page.contains("x_part_restarts_total{part=\"tail\"} 1"), "{page}");
}

#[tokio::test]
async fn threads_that_hang_are_left_behind_up_to_a_number_and_then_the_process_ends() {
    let watchdog = Watchdog::default();
    let part = watchdog.part("tail", BOUND);
    let (end, ends) = mpsc::channel::<()>();
    let ends = Arc::new(Mutex::new(ends));
    for _ in 0..=MAX_HANGING {
        assert!(!part.is_used_up());
        let ends = Arc::clone(&ends);
        let body = move |beat: &Beat| {
            beat.work();
            assert!(ends.lock().unwrap().recv().is_err());
        };
        let mut running = part.start_thread(body).unwrap();
        let hangs = async {
            loop {
                tokio::task::yield_now().await;
                watchdog.look(LOOK);
            }
        };
        let fault = tokio::select! { fault = running.fault() => fault, () = hangs => Fault::Ended };
        assert!(matches!(fault, Fault::Hangs(_)), "{fault}");
    }
    assert_eq!(watchdog.fatal(), None);
    assert!(part.is_used_up());
    assert!(watchdog.ends().await.contains("threads of it hang"));
    drop(end);
}

#[tokio::test]
async fn a_task_that_panics_or_returns_or_hangs_is_started_again_until_it_is_told_to_stop() {
    let watchdog = Watchdog::default();
    let (part, stop, starts) =
        (watchdog.part("trim", BOUND), CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let task = {
        let (starts, stop) = (Arc::clone(&starts), stop.clone());
        move |beat: Beat| {
            let (start, stop) = (starts.fetch_add(1, Relaxed), stop.clone());
            async move {
                match start {
                    0 => panic!("for once"),
                    1 => {}
                    2 => {
                        beat.work();
                        std::future::pending().await
                    }
                    _ => stop.cancelled().await,
                }
            }
        }
    };
    let kept = tokio::spawn(keep(part, stop.clone(), task));
    let mut troubles = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while starts.load(Relaxed) < 4 || watchdog.trouble().is_some() {
        assert!(tokio::time::Instant::now() < deadline, "{troubles:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        watchdog.look(LOOK);
        troubles.extend(watchdog.trouble());
    }
    assert_eq!(starts.load(Relaxed), 4);
    for wanted in
        ["trim: panicked: for once", "trim: ended without being told to", "trim: hangs: no sign of life"]
    {
        assert!(troubles.iter().any(|trouble| trouble.starts_with(wanted)), "{wanted}: {troubles:?}");
    }
    stop.cancel();
    kept.await.unwrap();
    assert_eq!(watchdog.trouble(), None, "an end that was asked for is no fault");
}

#[tokio::test]
async fn a_vital_part_that_fails_or_hangs_for_long_ends_the_process() {
    let watchdog = Watchdog::default();
    let runtime = watchdog.vital_part("runtime", BOUND);
    runtime.begin().work();
    looks(&watchdog, 29);
    assert_eq!(watchdog.fatal(), None);
    assert!(watchdog.trouble().is_some());
    looks(&watchdog, 2);
    let reason = "runtime: hangs: no sign of life for 30 s; it can't be started again, so the process ends";
    assert_eq!(watchdog.ends().await, reason);

    let watchdog = Watchdog::default();
    watchdog.vital_part("journal", BOUND).fail(&Fault::Ended);
    assert!(watchdog.ends().await.starts_with("journal: ended without being told to"));
}

#[test]
fn what_a_part_elsewhere_says_of_itself_is_reported_at_the_next_look() {
    let watchdog = Watchdog::default();
    let broken = Arc::new(Mutex::new(None));
    watchdog.ask(watchdog.part("spool", BOUND), &broken, |broken| lock(broken).clone());
    looks(&watchdog, 60);
    assert_eq!(watchdog.trouble(), None);

    *lock(&broken) = Some("its disk is gone".to_owned());
    looks(&watchdog, 1);
    assert_eq!(watchdog.trouble().unwrap(), "spool: its disk is gone");
}

use std::future::poll_fn;

use futures::FutureExt;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::Status;

use super::*;
use crate::{budget::Budget, share::UNIT};

const SOON: Duration = Duration::from_millis(50);
const PATIENCE: Patience = Patience { room: SOON, piece: SOON, message: Duration::from_millis(150) };
const BATCHES: Method = Method { largest: 1 << 20, is_unary: false, patience: PATIENCE };
const ONE: Method = Method { largest: 4 << 10, is_unary: true, patience: PATIENCE };
const KIB: usize = 1 << 10;

type Chunks = mpsc::UnboundedSender<Bytes>;

type Metered = super::Metered<axum::body::Body>;

/// Room of 4 MiB, 1 MiB of them for finishing; a quarter of it for each.
fn shares() -> Arc<Shares> {
    Shares::new(Budget::new(Budget::LEAST))
}

fn agent(shares: &Arc<Shares>, id: &str) -> Share {
    shares.of(Holder::Agent(id.into()))
}

fn metered(share: Share, method: Method) -> (Chunks, Metered) {
    metered_with(share, method, MessageRoom::default())
}

/// With a hand on the room that it takes.
fn metered_with(share: Share, method: Method, room: MessageRoom) -> (Chunks, Metered) {
    let (chunks, came) = mpsc::unbounded_channel();
    let came = UnboundedReceiverStream::new(came).map(Ok::<Bytes, BoxError>);
    (chunks, Metered::new(axum::body::Body::from_stream(came), share, method, room))
}

fn message(size: usize) -> Bytes {
    let mut message = vec![0];
    message.extend((size as u32).to_be_bytes());
    message.extend((0..size).map(|at| at as u8));
    message.into()
}

async fn next(body: &mut Metered) -> Option<Result<Bytes, Status>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()).map_err(Status::from_error))
}

/// Reads so many bytes behind a prefix.
async fn read(body: &mut Metered, size: usize) {
    let mut left = PREFIX + size;
    while left > 0 {
        left -= next(body).await.unwrap().unwrap().len();
    }
}

/// How the stream ends, whatever came before.
async fn ended(body: &mut Metered) -> Status {
    loop {
        if let Err(status) = next(body).await.unwrap() {
            return status;
        }
    }
}

#[tokio::test]
async fn messages_pass_as_they_came_however_they_are_cut() {
    let sent = [message(0), message(1), message(3_000), message(0), message(200_000)].concat();
    for size in [1, 2, 4, 5, 6, 7, 1_000, 20_000, 300_000] {
        let shares = shares();
        let (chunks, mut body) = metered(agent(&shares, "a"), BATCHES);
        sent.chunks(size).for_each(|chunk| chunks.send(Bytes::copy_from_slice(chunk)).unwrap());
        drop(chunks);
        let mut passed = Vec::new();
        while let Some(piece) = next(&mut body).await {
            passed.extend(piece.unwrap());
        }
        assert_eq!(passed, sent, "in pieces of {size}");
        drop(body);
        assert_eq!(shares.room.free(), 3 * KIB);
    }
}

#[tokio::test]
async fn room_is_paid_for_by_what_comes_and_not_by_what_is_announced() {
    let shares = shares();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let (chunks, mut body) = metered(agent(&shares, "slow"), BATCHES);
        chunks.send(message(1 << 20).slice(..PREFIX + 1)).unwrap();
        read(&mut body, 1).await;
        slow.push((chunks, body));
    }
    assert_eq!(shares.room.free() * UNIT, (3 << 20) - 4 * (64 << 10), "4 MiB are announced");

    let (chunks, mut good) = metered(agent(&shares, "good"), BATCHES);
    chunks.send(message(1 << 20)).unwrap();
    read(&mut good, 1 << 20).now_or_never().expect("it waits for nobody");
}

#[tokio::test]
async fn a_message_waits_for_room_until_another_is_dealt_with() {
    let shares = shares();
    let others = agent(&shares, "others");
    let _all = [shares.of(Holder::User("x".into())), others]
        .map(|other| other.try_take(|all| &all.room, KIB).unwrap());
    let _finishing = agent(&shares, "others").try_take(|all| &all.finishing, KIB).unwrap();
    let share = agent(&shares, "a");
    let ((first, mut a), (second, mut b)) = (metered(share.clone(), BATCHES), metered(share, BATCHES));
    // Both messages of the first stream come in one piece.
    first.send([message(960 * KIB), message(64 * KIB)].concat().into()).unwrap();
    second.send(message(128 * KIB)).unwrap();
    read(&mut a, 960 * KIB).await;
    assert_eq!(shares.room.free(), 64, "held until more is asked for");
    read(&mut b, 64 * KIB).await;
    assert!(next(&mut b).now_or_never().is_none());
    assert_eq!(next(&mut a).await.unwrap().unwrap().len(), PREFIX, "of the second message");
    read(&mut b, 64 * KIB - PREFIX).await;
    drop((a, b));
    assert_eq!(shares.room.free(), KIB);
}

/// Each holds half of its message, and there is no room for the other half of any of them: one after the other finishes.
#[tokio::test]
async fn messages_that_hold_all_room_together_finish_one_after_another() {
    let shares = shares();
    let mut all = tokio::task::JoinSet::new();
    for id in 0..12 {
        let patience = Patience { room: Duration::from_secs(60), ..PATIENCE };
        let (chunks, mut body) = metered(agent(&shares, &id.to_string()), Method { patience, ..BATCHES });
        chunks.send(message(900 * KIB).slice(..PREFIX + 256 * KIB)).unwrap();
        read(&mut body, 256 * KIB).await;
        all.spawn(async move {
            let mut left = 900 * KIB - 256 * KIB;
            chunks.send(Bytes::from(vec![0; left])).unwrap();
            while left > 0 {
                left -= next(&mut body).await.unwrap().unwrap().len();
            }
            drop(body);
        });
    }
    assert_eq!(shares.room.free(), 0);
    let done = tokio::time::timeout(Duration::from_secs(30), all.join_all()).await;
    assert_eq!(done.expect("somebody waits for ever").len(), 12);
    assert_eq!((shares.room.free(), shares.finishing.free()), (3 * KIB, KIB));
}

#[tokio::test]
async fn messages_that_wait_for_another_leave_it_their_room() {
    let shares = shares();
    let mut waiting = Vec::new();
    // More than all room together, and each is there as a whole: whoever has it waits for the last one now.
    for id in 0..6 {
        let room = MessageRoom::default();
        let (chunks, mut body) = metered_with(agent(&shares, &id.to_string()), BATCHES, room.clone());
        chunks.send(message(900 * KIB)).unwrap();
        read(&mut body, 900 * KIB).await;
        room.give_back();
        waiting.push((chunks, body));
    }
    let (chunks, mut body) = metered(agent(&shares, "0"), BATCHES);
    chunks.send(message(900 * KIB)).unwrap();
    read(&mut body, 900 * KIB).await;
    drop(body);
    assert_eq!((shares.room.free(), shares.finishing.free()), (3 * KIB, KIB));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_what_it_announces() {
    for (method, size) in [(BATCHES, (1 << 20) + 1), (ONE, 5_000)] {
        let shares = shares();
        let (chunks, mut body) = metered(agent(&shares, "a"), method);
        chunks.send(message(size).slice(..PREFIX)).unwrap();
        let status = ended(&mut body).await;
        assert_eq!(Kind::of(&status), Kind::TooLarge, "{status}");
        assert!(next(&mut body).await.is_none());
        assert_eq!(shares.room.free(), 3 * KIB);
    }
}

#[tokio::test]
async fn who_stops_in_the_middle_gives_room_back_and_who_is_idle_is_left_alone() {
    let shares = shares();
    let (chunks, mut body) = metered(agent(&shares, "a"), BATCHES);
    chunks.send(message(2_000).slice(..1_000)).unwrap();
    next(&mut body).await.unwrap().unwrap();
    assert_eq!(next(&mut body).await.unwrap().unwrap().len(), 1_000 - PREFIX);
    let status = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(Kind::of(&status), Kind::Timeout, "{status}");
    let (_chunks, mut idle) = metered(agent(&shares, "a"), BATCHES);
    assert!(tokio::time::timeout(SOON * 4, next(&mut idle)).await.is_err());
}

#[tokio::test]
async fn a_method_with_one_message_neither_waits_for_it_nor_for_the_end_of_its_stream() {
    let shares = shares();
    let (_chunks, mut silent) = metered(agent(&shares, "a"), ONE);
    let status = ended(&mut silent).await;
    assert_eq!(Kind::of(&status), Kind::Timeout, "{status}");

    let (chunks, mut endless) = metered(agent(&shares, "a"), ONE);
    chunks.send([message(3_000), message(3_000)].concat().into()).unwrap();
    read(&mut endless, 3_000).await;
    assert!(next(&mut endless).await.is_none(), "what follows is not read");
    assert_eq!(shares.room.free(), 3 * KIB - 3, "held until the question is dealt with");
}

#[tokio::test]
async fn who_trickles_gives_room_back_too() {
    for method in [BATCHES, ONE] {
        let (chunks, mut body) = metered(agent(&shares(), "a"), method);
        chunks.send(message(2_000).slice(..PREFIX)).unwrap();
        let trickle = async {
            loop {
                chunks.send(Bytes::from_static(b"x")).unwrap();
                sleep(SOON / 5).await;
            }
        };
        let status = tokio::select! { status = ended(&mut body) => status, () = trickle => unreachable!() };
        assert_eq!(Kind::of(&status), Kind::Timeout, "{status}");
    }
}

#[tokio::test]
async fn a_message_that_ends_early_is_told() {
    for came in [1, PREFIX, 1_000] {
        let (chunks, mut body) = metered(agent(&shares(), "a"), BATCHES);
        chunks.send(message(2_000).slice(..came)).unwrap();
        drop(chunks);
        let ended = ended(&mut body).await;
        assert_eq!(Kind::of(&ended), Kind::Corrupted, "{came} bytes: {ended}");
    }
}

#[tokio::test]
async fn who_finds_no_room_is_told_and_leaves_the_queue() {
    let shares = shares();
    let taken = ["b", "c", "d"].map(|id| agent(&shares, id).try_take(|all| &all.room, KIB).unwrap());
    let finishing = agent(&shares, "b").try_take(|all| &all.finishing, KIB).unwrap();
    let (chunks, mut body) = metered(agent(&shares, "a"), BATCHES);
    chunks.send(message(1_000)).unwrap();
    next(&mut body).await.unwrap().unwrap();
    let status = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(Kind::of(&status), Kind::Overloaded, "{status}");
    drop((taken, finishing));
    assert_eq!((shares.room.free(), shares.finishing.free()), (3 * KIB, KIB));
}

/// The time that a message waits for room is not its own.
#[tokio::test]
async fn the_clock_of_a_message_stands_still_while_it_waits_for_room() {
    let shares = shares();
    let taken = ["b", "c", "d"].map(|id| agent(&shares, id).try_take(|all| &all.room, KIB).unwrap());
    let finishing = agent(&shares, "b").try_take(|all| &all.finishing, KIB).unwrap();
    let patience = Patience { room: Duration::from_secs(60), ..PATIENCE };
    let (chunks, mut body) = metered(agent(&shares, "a"), Method { patience, ..BATCHES });
    chunks.send(message(1_000).slice(..500)).unwrap();
    next(&mut body).await.unwrap().unwrap();
    assert!(tokio::time::timeout(PATIENCE.message * 2, next(&mut body)).await.is_err());
    drop((taken, finishing));
    next(&mut body).await.unwrap().unwrap();
    chunks.send(Bytes::from(vec![0; 505])).unwrap();
    assert_eq!(next(&mut body).await.unwrap().unwrap().len(), 505);
}

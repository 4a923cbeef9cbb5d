//! A stream whose other end can neither flood it with frames that carry nothing, nor leave it full for ever.
//!
//! HTTP/2 has frames beside requests and their data (WINDOW_UPDATE, PING, SETTINGS, PRIORITY and unknown ones), and nothing bounds their
//! number: 360,000 a second kept a core busy. So many as honest peers send are read at once, more only at a pace that costs nothing; TCP holds
//! them back with the sender. And what can't be written for [`STALL`] ends the connection: its peer does not read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

/// How long nothing can be written before the connection ends.
const STALL: Duration = Duration::from_secs(30);
/// Frames without requests or data: 10,000 a second. A client that takes in an answer with 100 MB/s in small windows sends 6,000.
const PER_FRAME: Duration = Duration::from_micros(100);
/// As many as come in this time at that pace may come at once.
const BURST: Duration = Duration::from_secs(2);

pub(super) struct Paced<S> {
    inner: S,
    frames: Frames,
    /// Up to when the frames that came last at the pace.
    paid: Instant,
    pause: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, frames: Frames::Preface(0), paid: Instant::now(), pause: None, stall: None }
    }

    fn count(&mut self, bytes: &[u8]) {
        let frames = self.frames.count(bytes);
        if frames == 0 {
            return;
        }
        let now = Instant::now();
        let burst = now.checked_sub(BURST).unwrap_or(now);
        self.paid = self.paid.max(burst) + PER_FRAME.saturating_mul(frames);
        if self.paid > now {
            self.pause = Some(Box::pin(sleep_until(self.paid)));
        }
    }

    /// What came of writing, or that it has been stuck for too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(cx));
        let text = format!("nothing was read at the other end for {} s", STALL.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        this.count(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.written(cx, closed)
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length (3 bytes), type, flags and stream (RFC 9113, section 4.1).
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Where in a stream of frames the next byte is.
#[derive(Debug, PartialEq, Eq)]
enum Frames {
    /// So much of the preface came.
    Preface(usize),
    /// So much of a frame's head came.
    Head([u8; HEAD], usize),
    /// So much of a frame is still to come.
    Payload(usize),
    /// It is no HTTP/2, or what is no frame follows: others judge that.
    Other,
}

impl Frames {
    /// How many frames begin in these bytes that are neither requests nor data.
    fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut control = 0;
        while !bytes.is_empty() {
            let used = match self {
                Self::Other => return control,
                Self::Preface(seen) => {
                    let part = bytes.len().min(PREFACE.len() - *seen);
                    let is_it = PREFACE[*seen..][..part] == bytes[..part];
                    *self = match *seen + part {
                        _ if !is_it => Self::Other,
                        PREFACE_LEN => Self::Head([0; HEAD], 0),
                        seen => Self::Preface(seen),
                    };
                    part
                }
                Self::Head(head, seen) => {
                    let part = bytes.len().min(HEAD - *seen);
                    head[*seen..][..part].copy_from_slice(&bytes[..part]);
                    *seen += part;
                    if *seen == HEAD {
                        control += u32::from(!matches!(head[3], DATA | HEADERS | CONTINUATION));
                        *self = Self::behind(*head);
                    }
                    part
                }
                Self::Payload(left) => {
                    let part = bytes.len().min(*left);
                    *self = match *left - part {
                        0 => Self::Head([0; HEAD], 0),
                        left => Self::Payload(left),
                    };
                    part
                }
            };
            bytes = &bytes[used..];
        }
        control
    }

    fn behind([a, b, c, ..]: [u8; HEAD]) -> Self {
        match u32::from_be_bytes([0, a, b, c]) as usize {
            0 => Self::Head([0; HEAD], 0),
            length => Self::Payload(length),
        }
    }
}

const PREFACE_LEN: usize = PREFACE.len();

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = (length as u32).to_be_bytes();
        [&[a, b, c, kind, 0, 0, 0, 0, 0][..], &vec![7; length]].concat()
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let bytes =
            [PREFACE, &frame(4, 0), &frame(1, 30), &frame(0, 300), &frame(8, 4), &frame(6, 8), &frame(99, 5)];
        let bytes = bytes.concat();
        for size in [1, 2, 8, 9, 10, 64, 1_000] {
            let mut frames = Frames::Preface(0);
            let control: u32 = bytes.chunks(size).map(|part| frames.count(part)).sum();
            assert_eq!(control, 4, "in pieces of {size}");
            assert_eq!(frames, Frames::Head([0; HEAD], 0));
        }
    }

    #[test]
    fn what_is_no_http2_is_not_counted() {
        let mut frames = Frames::Preface(0);
        assert_eq!(frames.count(b"PRI please, this is a text that looks like frames"), 0);
        assert_eq!((frames.count(&frame(8, 4)), frames), (0, Frames::Other));
    }

    #[tokio::test]
    async fn a_flood_of_frames_without_data_is_read_at_a_pace() {
        let (mut evil, server) = duplex(1 << 20);
        let mut server = Paced::new(server);
        evil.write_all(PREFACE).await.unwrap();
        let flood = frame(8, 4).repeat(10_000);
        let mut buffer = vec![0; 256 << 10];
        for _ in 0..3 {
            evil.write_all(&flood).await.unwrap();
            let mut left = flood.len();
            while left > 0 && server.pause.is_none() {
                left = left.saturating_sub(server.read(&mut buffer).await.unwrap());
            }
        }
        let pause = server.pause.as_ref().expect("20,000 may come at once, 30,000 have to wait").deadline();
        assert!(pause > Instant::now() && pause < Instant::now() + BURST, "{pause:?}");
    }
}

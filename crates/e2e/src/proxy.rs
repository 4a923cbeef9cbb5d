//! A byte proxy between agent and collector that a scenario breaks by function calls: delay, jitter, rate, cut after so many bytes,
//! a black hole in one direction or both, a flipped bit, refused connections.

mod flow;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

use self::flow::Flow;

/// How one direction of all connections behaves.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Every byte comes so much later.
    pub delay: Duration,
    /// And up to so much later still.
    pub jitter: Duration,
    /// Bytes a second; unlimited when 0.
    pub rate: u64,
    /// Nothing comes through; what was sent stays with the proxy.
    pub stalled: bool,
    /// The connection that carries this many more bytes is cut there.
    pub cut_after: Option<u64>,
    /// One bit is flipped after this many more bytes.
    pub flip_after: Option<u64>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the agent to the collector.
    Up,
    /// From the collector to the agent.
    Down,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    weather: [Mutex<Weather>; 2],
    /// Connections made before the newest cut end.
    generation: AtomicU64,
    refusing: AtomicBool,
    closed: AtomicBool,
    connections: AtomicU64,
    bytes: [AtomicU64; 2],
    cuts: AtomicU64,
    flips: AtomicU64,
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on the loopback interface and connects to `target`.
    pub fn start(target: &str) -> Result<Self> {
        Self::start_at("127.0.0.1:0", target)
    }

    /// Listens at `address` and connects to `target`.
    pub fn start_at(address: &str, target: &str) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target.parse()?),
            weather: Default::default(),
            generation: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            bytes: Default::default(),
            cuts: AtomicU64::new(0),
            flips: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes how a direction behaves from now on.
    pub fn weather(&self, direction: Direction, change: impl FnOnce(&mut Weather)) {
        change(&mut self.shared.weather(direction));
    }

    /// Fair weather in both directions, and connections are taken.
    pub fn heal(&self) {
        Direction::ALL.iter().for_each(|direction| *self.shared.weather(*direction) = Weather::default());
        self.refuse(false);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
        self.shared.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether new connections are refused.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::Relaxed);
    }

    /// Where new connections lead from now on.
    pub fn lead_to(&self, target: &str) -> Result<()> {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target.parse()?;
        Ok(())
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes that came through in a direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::Relaxed)
    }

    /// Connections cut so far, by [`Proxy::cut`] or after so many bytes.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Bits flipped so far.
    pub fn flips(&self) -> u64 {
        self.shared.flips.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn weather(&self, direction: Direction) -> std::sync::MutexGuard<'_, Weather> {
        self.weather[direction as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, generation: u64) -> bool {
        self.closed.load(Ordering::Relaxed) || self.generation.load(Ordering::Relaxed) != generation
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        let Ok(agent) = stream else { continue };
        if shared.refusing.load(Ordering::Relaxed) {
            continue;
        }
        let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(collector) = TcpStream::connect(target) else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let generation = shared.generation.load(Ordering::Relaxed);
        for (direction, from, to) in
            [(Direction::Up, &agent, &collector), (Direction::Down, &collector, &agent)]
        {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            Flow { shared: Arc::clone(shared), direction, generation, from, to }.start();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        address
    }

    fn through(proxy: &Proxy, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn in_fair_weather_bytes_come_as_they_went() {
        let proxy = Proxy::start(&echo()).unwrap();
        let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        assert_eq!(through(&proxy, &bytes).unwrap(), bytes);
        assert_eq!((proxy.bytes(Direction::Up), proxy.bytes(Direction::Down)), (300_000, 300_000));
    }

    #[test]
    fn a_bit_flips_where_it_was_told_to() {
        let proxy = Proxy::start(&echo()).unwrap();
        proxy.weather(Direction::Up, |up| up.flip_after = Some(1000));
        let answer = through(&proxy, &[0; 3000]).unwrap();
        let flipped: Vec<usize> = (0..3000).filter(|place| answer[*place] != 0).collect();
        assert_eq!((flipped, proxy.flips()), (vec![1000], 1));
    }

    #[test]
    fn a_connection_is_cut_where_it_was_told_to() {
        let proxy = Proxy::start(&echo()).unwrap();
        proxy.weather(Direction::Down, |down| down.cut_after = Some(1000));
        assert!(through(&proxy, &[1; 3000]).map_or(true, |answer| answer.len() == 1000));
        assert_eq!(proxy.cuts(), 1);
        assert_eq!(through(&proxy, &[1; 3000]).unwrap().len(), 3000, "the next one is whole");
    }

    #[test]
    fn what_is_stalled_comes_when_it_heals() {
        let proxy = Proxy::start(&echo()).unwrap();
        proxy.weather(Direction::Down, |down| down.stalled = true);
        thread::scope(|scope| {
            let asking = scope.spawn(|| through(&proxy, &[1; 3000]).unwrap());
            while proxy.bytes(Direction::Up) < 3000 {
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(proxy.bytes(Direction::Down), 0);
            proxy.heal();
            assert_eq!(asking.join().unwrap().len(), 3000);
        });
    }
}

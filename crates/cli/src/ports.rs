//! Who listens on a port of this machine.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
};

/// First of the ports that `lapwing up` uses.
pub(crate) const FIRST: u16 = 7400;

/// The ports that lapwing uses on one machine, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    /// gRPC.
    pub(crate) grpc: u16,
    /// The collector's HTTP API.
    pub(crate) http: u16,
    /// The agent's own health and metrics.
    pub(crate) admin: u16,
}

impl Ports {
    /// The three from `first` on.
    pub(crate) fn from(first: u16) -> Self {
        Self { grpc: first, http: first.saturating_add(1), admin: first.saturating_add(2) }
    }

    /// All of them.
    pub(crate) fn all(self) -> [u16; 3] {
        [self.grpc, self.http, self.admin]
    }
}

/// The local address of a port.
pub(crate) fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// What a port of the loopback address is.
#[derive(Debug)]
pub(crate) enum Port {
    /// Nobody listens there.
    Free,
    /// A program listens there; which one, if this user may see it.
    Used(Option<Program>),
    /// It can't be had for another reason.
    Unusable(io::Error),
}

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name of its file.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) id: u32,
}

/// Looks at a port.
pub(crate) fn look(port: u16) -> Port {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Port::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Port::Used(listener(port)),
        Err(error) => Port::Unusable(error),
    }
}

fn listener(port: u16) -> Option<Program> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    let ids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| holds(*id, &wanted)).find_map(|id| {
        let path = fs::read_link(format!("/proc/{id}/exe")).ok()?;
        Some(Program { name: path.file_name()?.to_string_lossy().into_owned(), id })
    })
}

/// The inode of the socket that listens on `port`, by a table as in `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    /// State of a listening socket.
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listening = rows.filter(|row| {
        row.get(1).is_some_and(|local| local.ends_with(&suffix)) && row.get(3) == Some(&LISTEN)
    });
    listening.next()?.get(9).copied()
}

fn holds(id: u32, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    let mut targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_program_that_holds_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Port::Used(Some(program)) = look(port) else { panic!("{:?}", look(port)) };
        assert_eq!(program.id, std::process::id());
    }

    #[test]
    fn only_a_listening_socket_holds_a_port() {
        let row = |place: u8, peer: &str, state: &str, inode: u8| {
            format!(
                "   {place}: 0100007F:1CE8 {peer} {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1"
            )
        };
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        let rows = [row(0, "0100007F:D431", "01", 11), row(1, "00000000:0000", "0A", 22)];
        let table = &format!("{head}\n{}\n", rows.join("\n"));
        assert_eq!(listening_inode(table, 7400), Some("22"));
        assert_eq!(listening_inode(table, 7401), None);
    }

    #[test]
    fn ports_follow_each_other() {
        assert_eq!(Ports::from(FIRST).all(), [7400, 7401, 7402]);
    }
}

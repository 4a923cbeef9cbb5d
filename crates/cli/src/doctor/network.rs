//! The ports that lapwing uses.

use super::Finding;
use crate::ports::{self, Port, Ports, Program};

/// Whether each port is free, or lapwing's already.
pub(super) fn ports(ports: Ports) -> Vec<Finding> {
    let [grpc, http, admin] = ports.all();
    [("port for gRPC", grpc), ("port for HTTP", http), ("port of the agent", admin)]
        .map(|(what, port)| judge(what, port, ports::look(port)))
        .into()
}

fn judge(what: &'static str, port: u16, found: Port) -> Finding {
    let advice = "stop that program, or use other ports with `lapwing up --port`";
    match found {
        Port::Free => Finding::good(what, format!("{port} is free")),
        Port::Used(Some(Program { name, id })) if name.starts_with("lapwing") => {
            Finding::good(what, format!("{port} is in use by {name} (process {id})"))
        }
        Port::Used(Some(Program { name, id })) => {
            Finding::fault(what, format!("{port} is in use by {name} (process {id})"), advice)
        }
        Port::Used(None) => Finding::warning(
            what,
            format!("{port} is in use by a program of another user"),
            "if it is not lapwing, use other ports with `lapwing up --port`",
        ),
        Port::Unusable(error) => Finding::fault(what, format!("{port} can't be used: {error}"), advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_port_held_by_lapwing_is_fine_and_one_held_by_another_program_is_not() {
        let by = |name: &str| Port::Used(Some(Program { name: name.to_owned(), id: 7 }));
        assert_eq!(judge("p", 7400, Port::Free).level, Level::Good);
        assert_eq!(judge("p", 7400, by("lapwing-collector")).level, Level::Good);
        let fault = judge("p", 7400, by("nginx"));
        assert_eq!(fault.level, Level::Fault);
        assert!(fault.to_string().starts_with("p: 7400 is in use by nginx (process 7); stop"), "{fault}");
        assert_eq!(judge("p", 7400, Port::Used(None)).level, Level::Warning);
    }
}

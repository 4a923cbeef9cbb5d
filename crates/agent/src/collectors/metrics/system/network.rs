//! Network interfaces.

use sysinfo::Networks as Interfaces;

use super::points::Points;

/// Network figures.
#[derive(Debug)]
pub(super) struct Networks {
    interfaces: Option<Interfaces>,
}

impl Networks {
    pub(super) fn new() -> Self {
        Self { interfaces: Interfaces::new().ok() }
    }

    pub(super) fn observe(&mut self, points: &mut Points) {
        let Some(interfaces) = &mut self.interfaces else { return };
        interfaces.refresh(true);
        for (name, data) in &*interfaces {
            let name = name.to_string_lossy();
            let receive = [("network.interface.name", &*name), ("network.io.direction", "receive")];
            let transmit = [("network.interface.name", &*name), ("network.io.direction", "transmit")];
            points.total("system.network.io", "By", data.total_received() as f64, &receive);
            points.total("system.network.io", "By", data.total_transmitted() as f64, &transmit);
            points.total(
                "system.network.packet.count",
                "{packet}",
                data.total_packets_received() as f64,
                &receive,
            );
            points.total(
                "system.network.packet.count",
                "{packet}",
                data.total_packets_transmitted() as f64,
                &transmit,
            );
            points.total(
                "system.network.errors",
                "{error}",
                data.total_errors_on_received() as f64,
                &receive,
            );
            points.total(
                "system.network.errors",
                "{error}",
                data.total_errors_on_transmitted() as f64,
                &transmit,
            );
        }
    }
}

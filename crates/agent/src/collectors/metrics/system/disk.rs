//! Disks, from `/proc/diskstats` (Documentation/admin-guide/iostats.rst of the kernel), and file systems.

use std::{collections::HashSet, fs, path::Path};

use sysinfo::{DiskRefreshKind, Disks as Mounts};

use super::points::Points;

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's own are.
const SECTOR: f64 = 512.0;

/// Disk figures.
#[derive(Debug)]
pub(super) struct Disks {
    /// `None` where the system has no mount table to read.
    mounts: Option<Mounts>,
}

impl Disks {
    pub(super) fn new() -> Self {
        Self { mounts: Mounts::new().ok() }
    }

    pub(super) fn observe(&mut self, points: &mut Points) {
        let stats = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        for disk in stats.lines().filter_map(DiskLine::parse).filter(|disk| is_whole_disk(disk.name)) {
            disk.observe(points);
        }
        let Some(mounts) = &mut self.mounts else { return };
        mounts.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        let mut seen = HashSet::new();
        for mount in &*mounts {
            let device = mount.name().to_string_lossy();
            // A device that is mounted twice has its bytes once.
            if mount.total_space() > 0 && seen.insert(device.clone()) {
                file_system(&device, mount, points);
            }
        }
    }
}

fn file_system(device: &str, mount: &sysinfo::Disk, points: &mut Points) {
    let (point, kind) = (mount.mount_point().to_string_lossy(), mount.file_system().to_string_lossy());
    let (total, free) = (mount.total_space() as f64, mount.available_space() as f64);
    let with = |state| {
        [
            ("system.device", device),
            ("system.filesystem.mountpoint", point.as_ref()),
            ("system.filesystem.type", kind.as_ref()),
            ("system.filesystem.state", state),
        ]
    };
    points.level("system.filesystem.usage", "By", total - free, &with("used"));
    points.level("system.filesystem.usage", "By", free, &with("free"));
    points.gauge("system.filesystem.utilization", "1", (total - free) / total, &with("used")[..3]);
}

/// Partitions, loops and RAM disks repeat or stand for other things.
fn is_whole_disk(name: &str) -> bool {
    let virtual_disk = ["loop", "ram", "zram", "sr", "fd"].iter().any(|prefix| name.starts_with(prefix));
    !virtual_disk && Path::new("/sys/block").join(name).exists()
}

/// A line of `/proc/diskstats`.
#[derive(Debug, PartialEq)]
struct DiskLine<'a> {
    name: &'a str,
    /// Reads, merged reads, sectors read, milliseconds reading, then the same for writes, then requests in flight and
    /// milliseconds busy.
    figures: [f64; 10],
}

impl<'a> DiskLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?;
        let mut figures = [0.0; 10];
        for figure in &mut figures {
            *figure = words.next()?.parse().ok()?;
        }
        Some(Self { name, figures })
    }

    fn observe(&self, points: &mut Points) {
        for (direction, first) in [("read", 0), ("write", 4)] {
            let about = [("system.device", self.name), ("disk.io.direction", direction)];
            let figure = |n: usize| self.figures[first + n];
            points.total("system.disk.io", "By", figure(2) * SECTOR, &about);
            points.total("system.disk.operations", "{operation}", figure(0), &about);
            points.total("system.disk.merged", "{operation}", figure(1), &about);
            points.total("system.disk.operation_time", "s", figure(3) / 1000.0, &about);
        }
        points.total("system.disk.io_time", "s", self.figures[9] / 1000.0, &[("system.device", self.name)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_diskstats_is_read() {
        let line = " 254       0 vda 11 12 13 14 21 22 23 24 0 31 41 0 0 0 0 0 0";
        let disk = DiskLine::parse(line).unwrap();
        assert_eq!(disk.name, "vda");
        assert_eq!(disk.figures, [11.0, 12.0, 13.0, 14.0, 21.0, 22.0, 23.0, 24.0, 0.0, 31.0]);
        assert_eq!(DiskLine::parse("254 0 vda 1 2"), None);
    }
}

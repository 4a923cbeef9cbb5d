//! Lines in the forms of the sixteen logs of LogHub, each with the time and the level that its columns name. The lines are made up; only their
//! forms are those of the data set, whose licence keeps it out of here.
#![allow(clippy::unwrap_used, reason = "tests")]

use lapwing_parse::{Settings, recognise};

/// 2026-11-28T07:31:35Z, when the lines are read.
const OBSERVED: u64 = 1_795_851_095_000_000_000;
/// OpenTelemetry's severity numbers, and none.
const LEVELS: [(&str, u8); 7] =
    [("-", 0), ("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("error", 17), ("fatal", 21)];

/// Lines of one log: seconds since 1970 and their fraction as written, the level, the line.
type Log<'l> = &'l [(i64, &'l str, &'l str, &'l str)];

/// Whether each line has its time, to the nanosecond, and its level; all that don't are reported in one go.
fn check(log: Log<'_>) {
    let mut wrong = Vec::new();
    for (seconds, fraction, level, line) in log {
        let nanos = format!("{fraction:0<9}").parse::<i64>().unwrap();
        let severity = LEVELS.iter().find(|(name, _)| name == level).unwrap().1;
        let found = recognise(line.as_bytes(), OBSERVED, &Settings::default());
        let time = found.time.map_or(0, |time| time.unix_nano);
        let number = found.severity.as_ref().map_or(0, |severity| (severity.number - 1) / 4 * 4 + 1);
        if (time, number) != (seconds * 1_000_000_000 + nanos, severity) {
            wrong.push(format!("{line}\n    expected {seconds}.{nanos:09} {level}, found {time} {number}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// What the lines of each log name.
const ANDROID: i64 = 1_773_764_018;
/// The finer time of the two that its lines have is that of a clock in California, without a zone.
const BGL: i64 = 1_117_813_370;
const HADOOP: i64 = 1_445_191_307;
const HDFS: i64 = 1_226_262_975;
const HEALTH: i64 = 1_514_067_329;
const LINUX: i64 = 1_781_450_161;
const MAC: i64 = 1_782_896_455;
const OPENSTACK: i64 = 1_494_892_800;
const PROXIFIER: i64 = 1_793_378_946;
const SPARK: i64 = 1_497_039_040;
const THUNDERBIRD: i64 = 1_131_566_461;
const WINDOWS: i64 = 1_475_037_030;
const ZOOKEEPER: i64 = 1_438_191_704;

#[test]
fn android() {
    check(&[
        (ANDROID, "811", "debug", "03-17 16:13:38.811  1702  2395 D WindowManager: printing logs app wtoken = AppWindowToken{9f4ef63 token=Token{a64f992 ActivityRecord{de9231d u0 com.example/.LaunchUI t761}}}, allDrawn= false"),
        (ANDROID, "819", "verbose", "03-17 16:13:38.819  1702  8671 V PowerManagerService: acquireWakeLockInternal: lock=166121161, flags=0x1"),
        (ANDROID, "820", "info", "03-17 16:13:38.820  2626 28601 I PhoneStatusBar: cancelNotification,cancel(null,2131,10000)"),
        (ANDROID, "001", "warn", "03-17 16:13:38.001 10454 10454 W ActivityManager: getRunningAppProcesses: caller 10111 does not hold PERMISSION"),
        (ANDROID, "002", "error", "03-17 16:13:38.002   638   638 E [KernelLog]: <6>[1-16:13:38.001] Error in D state"),
        (ANDROID, "003", "error", "03-17 16:13:38.003  2852  2852 E         : no tag at all"),
        (ANDROID, "004", "info", "03-17 16:13:38.004  1702  1820 I chatty  : uid=1000(system) ActivityManager expire 4 lines"),
        (ANDROID, "005", "debug", "03-17 16:13:38.005  1702  1820 D I/O     : 2016-03-17 00:00:00 WARN inside"),
        (ANDROID, "006", "fatal", "03-17 16:13:38.006  1702  1820 F libc    : Fatal signal 11 (SIGSEGV)"),
    ].map(|(time, fraction, level, line)| (time, fraction, if level == "verbose" { "trace" } else { level }, line)));
}

#[test]
fn apache() {
    check(&[
        (
            1_133_671_664,
            "",
            "info",
            "[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok /etc/httpd/conf/workers2.properties",
        ),
        (
            1_133_671_664,
            "",
            "error",
            "[Sun Dec 04 04:47:44 2005] [error] [client 10.0.0.1] Directory index forbidden by rule: /var/www/html/",
        ),
        (
            1_133_671_664,
            "",
            "error",
            "[Sun Dec 04 04:47:44 2005] [error] jk2_init() Can't find child 1566 in scoreboard",
        ),
    ]);
}

#[test]
fn bgl() {
    check(&[
        (
            BGL,
            "675872",
            "info",
            "- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.675872 R02-M1-N0-C:J12-U11 RAS KERNEL INFO instruction cache parity error corrected",
        ),
        (
            BGL,
            "000001",
            "fatal",
            "KERNDTLB 1117838570 2005.06.03 R30-M0-N9-C:J16-U01 2005-06-03-15.42.50.000001 R30-M0-N9-C:J16-U01 RAS KERNEL FATAL data TLB error interrupt",
        ),
        (
            BGL,
            "2",
            "fatal",
            "APPREAD 1117838570 2005.06.03 R22-M0-NA-I:J18-U01 2005-06-03-15.42.50.2 R22-M0-NA-I:J18-U01 RAS APP FATAL ciod: failed to read message prefix on control stream (CioStream socket to 10.0.0.1:33370",
        ),
        (
            BGL,
            "276129",
            "warn",
            "- 1117838570 2005.06.03 R63-M0-N2 2005-06-03-15.42.50.276129 R63-M0-N2 NULL DISCOVERY WARNING Node card is not fully functional",
        ),
        (
            BGL,
            "276129",
            "error",
            "- 1117838570 2005.06.03 R63-M0-L3-U19-A 2005-06-03-15.42.50.276129 R63-M0-L3-U19-A NULL DISCOVERY SEVERE Can not get assembly information for node card",
        ),
        (
            BGL,
            "276129",
            "error",
            "- 1117838570 2005.06.03 NULL 2005-06-03-15.42.50.276129 NULL RAS BGLMASTER FAILURE mmcs_server exited normally with exit code 13",
        ),
        (
            BGL,
            "276129",
            "error",
            "- 1117838570 2005.06.03 UNKNOWN_LOCATION 2005-06-03-15.42.50.276129 UNKNOWN_LOCATION NULL MMCS ERROR idoproxydb hit ASSERT condition: ASSERT expression=0",
        ),
        (
            BGL,
            "276129",
            "warn",
            "- 1117838570 2005.06.03 R20-M1-N8 2005-06-03-15.42.50.276129 R20-M1-N8 NULL HARDWARE WARNING PrepareForService is being done on this part",
        ),
        (
            BGL,
            "276129",
            "info",
            "- 1117838570 2005.06.03 R33-M1-L2-U18-D 2005-06-03-15.42.50.276129 R33-M1-L2-U18-D RAS LINKCARD INFO MidplaneSwitchController performing bit sparing",
        ),
        (
            BGL,
            "276129",
            "error",
            "MASABNORM 1117838570 2005.06.03 NULL 2005-06-03-15.42.50.276129 NULL RAS BGLMASTER FAILURE ciodb exited abnormally due to signal: Aborted",
        ),
        (
            BGL,
            "276129",
            "error",
            "- 1117838570 2005.06.03 R11-M1 2005-06-03-15.42.50.276129 R11-M1 RAS MONITOR FAILURE monitor caught java.net.SocketException: Broken pipe and is stopping",
        ),
        (
            BGL,
            "276129",
            "info",
            "- 1117838570 2005.06.03 R16-M1-N2-C:J17-U01 2005-06-03-15.42.50.276129 R16-M1-N2-C:J17-U01 RAS KERNEL INFO generating core.2275",
        ),
    ]);
}

#[test]
fn hadoop() {
    check(&[
        (
            HADOOP,
            "978",
            "info",
            "2015-10-18 18:01:47,978 INFO [main] org.example.mapreduce.v2.app.MRAppMaster: Created MRAppMaster for application appattempt_1445144423722_0020_000001",
        ),
        (
            HADOOP,
            "000",
            "warn",
            "2015-10-18 18:01:47,000 WARN [LeaseRenewer:user@host:9000] org.example.hdfs.LeaseRenewer: Failed to renew lease for [DFSClient_NONMAPREDUCE_1537864556_1] for 51 seconds.  Will retry shortly ...",
        ),
        (
            HADOOP,
            "055",
            "error",
            "2015-10-18 18:01:47,055 ERROR [RMCommunicator Allocator] org.example.RMContainerAllocator: ERROR IN CONTACTING RM. ",
        ),
        (
            HADOOP,
            "055",
            "info",
            "2015-10-18 18:01:47,055 INFO [IPC Server handler 2 on 62270] org.example.TaskAttemptListenerImpl: Progress of TaskAttempt attempt_1 is : 0.13",
        ),
        (HADOOP, "055", "fatal", "2015-10-18 18:01:47,055 FATAL [Thread-3] org.example.Main: x"),
    ]);
}

#[test]
fn hdfs() {
    check(&[
        (
            HDFS,
            "",
            "info",
            "081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_38865049064139660 terminating",
        ),
        (
            HDFS,
            "",
            "warn",
            "081109 203615 19 WARN dfs.FSDataset: Unexpected error trying to delete block blk_1. BlockInfo not found in volumeMap.",
        ),
        (
            1_226_275_284,
            "",
            "warn",
            "081110 000124 13 WARN dfs.DataNode$DataXceiver: 10.0.0.1:50010:Got exception while serving blk_1 to /10.0.0.2:",
        ),
    ]);
}

#[test]
fn healthapp() {
    check(&[
        (HEALTH, "606", "-", "20171223-22:15:29:606|Step_LSC|30002312|onStandStepChanged 3579"),
        (
            HEALTH,
            "061",
            "-",
            "20171223-22:15:29:61|Step_SPUtils|30002312| getTodayTotalDetailSteps = 1514038440000##6993##548365##8661##12361##27173954",
        ),
        (
            HEALTH - 22 * 3600 - 15 * 60 - 29,
            "001",
            "-",
            "20171223-0:0:0:1|Step_StandReportReceiver|30002312|REPORT : 7028 5017 150539 240",
        ),
        (
            HEALTH - 20,
            "000",
            "-",
            "20171223-22:15:9:0|Step_ExtSDM|30002312|calculateCaloriesWithCache totalCalories=126797",
        ),
    ]);
}

#[test]
fn hpc() {
    check(&[
        (1_077_804_742, "", "-", "134681 node-246 unix.hw state_change.unavailable 1077804742 1 Component State Change: Component \\042SCSI-WWID:01000010:6005-08b4\\042 is in the unavailable state (HWID=1973)"),
        (1_084_680_778, "", "-", "2562 gige7 gige temphigh 1084680778 1 Temperature (41C) exceeds warning threshold"),
        (1_074_278_104, "", "-", "168 node-[0-63 65] action start 1074278104 1 risBoot (command 3152)"),
        (1_074_278_104, "", "error", "334 node-D6 action error 1074278104 1 bootGenvmunix (command 1901) Error: \\042x\\042 failed"),
        (1_115_000_000, "", "-", "460903 Interconnect-0N00 switch_module bcast-error 1115000000 1 Link in reset"),
        (1_145_552_216, "", "-", "3108 full domain psu 1145552216 1 psu failure ambient=31"),
        (1_145_552_216, "", "-", "31088 node-7 node status 1145552216 0 running configured out"),
    ].map(without_level));
}

/// The data set names no level; one that is found in the text is no mistake.
fn without_level<'l>(line: (i64, &'l str, &'l str, &'l str)) -> (i64, &'l str, &'l str, &'l str) {
    let found = recognise(line.3.as_bytes(), OBSERVED, &Settings::default());
    (line.0, line.1, if found.severity.is_some() { "error" } else { "-" }, line.3)
}

#[test]
fn linux() {
    check(&[
        (
            LINUX,
            "",
            "-",
            "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=10.0.0.1 ",
        ),
        (
            LINUX,
            "",
            "-",
            "Jun 14 15:16:01 combo ftpd[24085]: connection from 10.0.0.1 (host.example.com) at Sat Jun 18 02:08:10 2005 ",
        ),
        (LINUX, "", "-", "Jun 14 15:16:01 combo kernel: audit(1122475266.4294965305:0): initialized"),
        (
            LINUX,
            "",
            "-",
            "Jun 14 15:16:01 combo su(pam_unix)[21416]: session opened for user cyrus by (uid=0)",
        ),
        (LINUX - 14 * 3600, "", "-", "Jun 14 01:16:01 combo --- last message repeated 2 times ---"),
    ]);
}

#[test]
fn mac() {
    check(&[
        (
            MAC,
            "",
            "-",
            "Jul  1 09:00:55 calvin-10-105-160-95 kernel[0]: IOThunderboltSwitch<0>(0x0)::listenerCallback - Thunderbolt HPD packet for route = 0x0 port = 11 unplug = 0",
        ),
        (
            MAC,
            "",
            "-",
            "Jul  1 09:00:55 calvin-10-105-160-95 com.apple.CDScheduler[43]: Thermal pressure state: 1 Memory pressure state: 0",
        ),
        (
            MAC,
            "",
            "-",
            "Jul  1 09:00:55 authorMacBook-Pro corecaptured[31174]: CCFile::captureLog Received Capture notice id: 1499020000.130, reason = AssocFail:sts:2_rsn:0",
        ),
        (
            MAC,
            "",
            "-",
            "Jul  1 09:00:55 authorMacBook-Pro ksfetch[32435]: 2017-07-05 22:58:13.345 ksfetch[32435/0x7fff79824000] [lvl=2] main() ksfetch fetching URL",
        ),
        (
            MAC,
            "",
            "-",
            "Jul  1 09:00:55 airbears2-10-142-110-255 Safari[9852]: KeychainGetICDPStatus: status: off",
        ),
    ]);
}

#[test]
fn openssh() {
    check(&[(
        1_765_349_746,
        "",
        "-",
        "Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for invalid user webmaster from 10.0.0.1 port 38926 ssh2",
    )]);
    check(&[(
        1_765_349_746,
        "",
        "error",
        "Dec 10 06:55:46 LabSZ sshd[24200]: error: Received disconnect from 10.0.0.1: 14: No more authentication methods",
    )]);
}

#[test]
fn openstack() {
    check(&[
        (
            OPENSTACK,
            "008",
            "info",
            "nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 INFO nova.osapi_compute.wsgi.server [req-38101a0b-2096 113d3a99c3da - - -] 10.0.0.1 \"GET /v2/54fadb412c4e/servers/detail HTTP/1.1\" status: 200 len: 1893 time: 0.2477829",
        ),
        (
            OPENSTACK,
            "500",
            "info",
            "nova-compute.log.1.2017-05-16_13:55:31 2017-05-16 00:00:00.500 2931 INFO nova.compute.manager [req-3ea4 - - - - -] [instance: b9000564] VM Started (Lifecycle Event)",
        ),
        (
            OPENSTACK,
            "500",
            "warn",
            "nova-compute.log.2017-05-14_21:27:09 2017-05-16 00:00:00.500 2931 WARNING nova.virt.libvirt.imagecache [req-addc1839 - - - - -] Unknown base file: /var/lib/nova/instances/_base/a",
        ),
        (
            OPENSTACK,
            "500",
            "error",
            "nova-scheduler.log.2017-05-14_21:27:09 2017-05-16 00:00:00.500 2931 ERROR nova.scheduler [-] x",
        ),
    ]);
}

#[test]
fn proxifier() {
    check(&[
        (PROXIFIER, "", "-", "[10.30 16:49:06] chrome.exe - proxy.example.com:5070 open through proxy proxy.example.com:5070 HTTPS"),
        (PROXIFIER, "", "-", "[10.30 16:49:06] chrome.exe *64 - proxy.example.com:5070 close, 0 bytes sent, 0 bytes received, lifetime 00:01"),
        (PROXIFIER, "", "-", "[10.30 16:49:06] chrome.exe - proxy.example.com:5070 close, 1.2 KB (1,266 bytes) sent, 850 bytes received, lifetime <1 sec"),
        (PROXIFIER, "", "error", "[10.30 16:49:06] chrome.exe - www.example.com:443 error : Could not connect through proxy proxy.example.com:5070 - Proxy server cannot establish a connection with the target, status code 403"),
        (1_785_024_000, "", "-", "[07.26 00:00:00] SogouCloud.exe - get.example.com:80 close, 651 bytes sent, 362 bytes received, lifetime 00:01"),
    ].map(without_level));
}

#[test]
fn spark() {
    check(&[
        (
            SPARK,
            "",
            "info",
            "17/06/09 20:10:40 INFO executor.CoarseGrainedExecutorBackend: Registered signal handlers for [TERM, HUP, INT]",
        ),
        (
            SPARK,
            "",
            "warn",
            "17/06/09 20:10:40 WARN netty.NettyRpcEnv: Ignored message: HeartbeatResponse(false)",
        ),
        (
            SPARK,
            "",
            "error",
            "17/06/09 20:10:40 ERROR executor.Executor: Exception in task 1.0 in stage 2.0 (TID 3)",
        ),
        (
            1_465_503_040,
            "",
            "info",
            "16/06/09 20:10:40 INFO Configuration.deprecation: mapred.tip.id is deprecated. Instead, use mapreduce.task.id",
        ),
    ]);
}

#[test]
fn thunderbird() {
    check(&[
        (THUNDERBIRD, "", "-", "- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond(pam_unix)[2915]: session closed for user root"),
        (THUNDERBIRD, "", "-", "- 1131566461 2005.11.09 #8# Nov 9 12:01:01 #8#/#8# sshd[8811]: getaddrinfo: src.example.com failed"),
        (THUNDERBIRD, "", "-", "- 1131566461 2005.11.09 tbird-admin1 Nov 9 12:01:01 local@tbird-admin1 postfix/postdrop[10896]: warning: unable to look up public/pickup: No such file or directory"),
        (THUNDERBIRD, "", "-", "- 1131566461 2005.11.09 tbird-sm1 Nov 9 12:01:01 src@tbird-sm1 ib_sm.x[24904]: [ib_sm_sweep.c:1455]: No topology change"),
        (THUNDERBIRD, "", "-", "VAPI 1131566461 2005.11.09 bn257 Nov 9 12:01:01 bn257/bn257 kernel: [KERNEL_IB][ib_mad_static_compute_base] Couldn't find a lid"),
        (THUNDERBIRD, "", "-", "R_HDA_NR 1131566461 2005.11.09 an896 Nov 9 12:01:01 an896/an896 kernel: hda: drive not ready for command"),
        (THUNDERBIRD, "", "-", "- 1131566461 2005.11.09 eadmin1 Nov 9 12:01:01 src@eadmin1 dhcpd: DHCPDISCOVER from 00:11:43:e3:ba:c3 via eth1: network A_net: no free leases"),
    ].map(without_level));
}

#[test]
fn windows() {
    check(&[
        (
            WINDOWS,
            "",
            "info",
            "2016-09-28 04:30:30, Info                  CBS    Loaded Servicing Stack v6.1.7601.23505 with Core: C:\\Windows\\winsxs\\amd64\\cbscore.dll",
        ),
        (
            WINDOWS,
            "",
            "info",
            "2016-09-28 04:30:30, Info                  CSI    00000001@2016/9/27:20:30:31.455 WcpInitialize (wcp.dll version 0.0.0.6) called (stack @0x7fed806eb5d)",
        ),
        (
            WINDOWS,
            "",
            "error",
            "2016-09-28 04:30:30, Error                 CBS    SQM: Failed to start upload. [HRESULT = 0x80004005 - E_FAIL]",
        ),
        (
            WINDOWS,
            "",
            "info",
            "2016-09-28 04:30:30, Info                  CBS    Warning: Unrecognized packageExtended attribute.",
        ),
        (WINDOWS, "", "warn", "2016-09-28 04:30:30, Warning               CBS    x"),
    ]);
}

#[test]
fn zookeeper() {
    check(&[
        (
            ZOOKEEPER,
            "747",
            "info",
            "2015-07-29 17:41:44,747 - INFO  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:FastLeaderElection@774] - Notification time out: 3200",
        ),
        (
            ZOOKEEPER,
            "071",
            "warn",
            "2015-07-29 17:41:44,071 - WARN  [SendWorker:188978561024:QuorumCnxManager$SendWorker@688] - Send worker leaving thread",
        ),
        (
            ZOOKEEPER,
            "071",
            "error",
            "2015-07-29 17:41:44,071 - ERROR [LearnerHandler-/10.0.0.1:52308:LearnerHandler@562] - Unexpected exception causing shutdown while sock still open",
        ),
    ]);
}

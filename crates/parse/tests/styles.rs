//! Lines in the styles of real programs, with the time and the level that a reader sees in them.

use lapwing_parse::{DayOrder, Doubt, Settings, Time, Zone, recognise};

/// 2026-11-28T07:31:35Z, when the lines of these tests are read.
const OBSERVED: u64 = 1_795_851_095_000_000_000;

/// 2026-03-04T05:06:07Z in nanoseconds.
const T: i64 = 1_772_600_767_000_000_000;
const MS: i64 = 1_000_000;
const HOUR: i64 = 3_600_000_000_000;

const NONE: u8 = 0;
const TRACE: u8 = 1;
const DEBUG: u8 = 5;
const INFO: u8 = 9;
const NOTICE: u8 = 10;
const WARN: u8 = 13;
const ERROR: u8 = 17;
const FATAL: u8 = 21;

/// Whether each line has this time and severity; all that don't are reported in one go.
fn check(cases: &[(&str, i64, u8)]) {
    let mut wrong = Vec::new();
    for (line, time, severity) in cases {
        let found = recognise(line.as_bytes(), OBSERVED, &Settings::default());
        let got = (
            found.time.map_or(0, |time| time.unix_nano),
            found.severity.map_or(NONE, |severity| severity.number),
        );
        if got != (*time, *severity) {
            wrong.push(format!("{line}\n    expected {:?}, found {got:?}", (time, severity)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn iso_8601_and_what_looks_like_it() {
    check(&[
        ("2026-03-04T05:06:07Z started", T, NONE),
        ("2026-03-04T05:06:07.123Z INFO started", T + 123 * MS, INFO),
        ("2026-03-04T06:06:07.123456789+01:00 WARN x", T + 123_456_789, WARN),
        ("2026-03-04t05:06:07z x", T, NONE),
        ("2026-03-04T000607-0500 x", T, NONE),
        ("2026-03-04 05:06:07 x", T, NONE),
        ("2026-03-04 05:06:07,123 x", T + 123 * MS, NONE),
        ("2026-03-04 05:06:07.123456 UTC x", T + 123_456_000, NONE),
        ("2026-03-04 05:06:07 +0000 x", T, NONE),
        ("2026/03/04 05:06:07.5 x", T + 500 * MS, NONE),
        ("[2026-03-04T05:06:07,123][WARN ][o.e.n.Node] [node-1] x", T + 123 * MS, WARN),
        ("[2026-03-04 05:06:07,123] INFO x (kafka.server.KafkaServer)", T + 123 * MS, INFO),
        ("[2026-03-04 05:06:07.123][1][warning][main] [source/main.cc:12] x", T + 123 * MS, WARN),
        ("2026-03-04-05.06.07.123456+000 I1234E567 LEVEL: Event", T + 123_456_000, NONE),
        ("2026-03-04 05:06 x", T - 7 * 1_000_000_000, NONE),
        ("20260304T050607Z x", T, NONE),
        ("20260304 05:06:07.123 ERROR x", T + 123 * MS, ERROR),
        ("20260304050607 x", T, NONE),
        ("20260304050607123 x", T + 123 * MS, NONE),
        ("2026-03-04\t05:06:07\tFRA6\t512\t10.0.0.1\tGET", T, NONE),
        ("2026-03-04T05:06:07.123Z,a,b,c", T + 123 * MS, NONE),
        ("    2026/03/04 05:06:07 [ERR] agent: x", T, ERROR),
        ("\u{feff}2026-03-04 05:06:07 INFO x", T, INFO),
        (
            "\x1b[2m2026-03-04T05:06:07.123456Z\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2mapp\x1b[0m: x",
            T + 123_456_000,
            INFO,
        ),
    ]);
}

#[test]
fn java_and_its_logging_libraries() {
    check(&[
        ("2026-03-04 05:06:07,123 [main] INFO  com.example.App - x", T + 123 * MS, INFO),
        ("2026-03-04 05:06:07,123 - WARN  [Send:12@688] - x", T + 123 * MS, WARN),
        ("2026-03-04 05:06:07.123  INFO 4321 --- [           main] c.example.App  : x", T + 123 * MS, INFO),
        (
            "2026-03-04T05:06:07.123+00:00 ERROR 1 --- [app] [nio-8080-exec-1] c.e.App : x",
            T + 123 * MS,
            ERROR,
        ),
        ("05:06:07.123 [main] DEBUG com.example.App - x", 0, DEBUG),
        ("05:06:07,123 INFO  [org.jboss.as] (MSC service thread 1-2) x", 0, INFO),
        ("Mar 04, 2026 5:06:07 AM com.example.App main", T, NONE),
        ("Mar 4, 2026, 5:06:07\u{202f}AM com.example.App main", T, NONE),
        ("SEVERE: x failed", 0, ERROR),
        ("FINE: x", 0, 6),
        ("04-Mar-2026 05:06:07.123 WARNING [main] org.apache.catalina.x y", T + 123 * MS, WARN),
        ("04 Mar 2026 05:06:07,123 INFO  [lifecycleSupervisor-1-0] (x.y:61)  - z", T + 123 * MS, INFO),
        (
            "####<Mar 4, 2026 5:06:07,123 AM UTC> <Notice> <Security> <host> <x> <BEA-1> <y>",
            T + 123 * MS,
            NOTICE,
        ),
        ("<Mar 4, 2026 5:06:07 AM UTC> <Error> <Deployer> <BEA-1> <y>", T, ERROR),
        ("INFO  [main] 2026-03-04 05:06:07,123 StorageService.java:568 - x", T + 123 * MS, INFO),
        ("[2026-03-04T05:06:07.123+0000][info][gc,start] GC(0) Pause Young", T + 123 * MS, INFO),
        ("[0.123s][info][gc] Using G1", 0, INFO),
        ("2026-03-04 05:06:07.123+0000 [id=42]\tWARNING\thudson.model.X#y: z", T + 123 * MS, WARN),
        ("2026-03-04 05:06:07.123 o.a.s.z main [INFO] x", T + 123 * MS, INFO),
        ("2026-03-04 05:06:07.123 INFO  (qtp1-12) [   x:y] o.a.s.c.S x", T + 123 * MS, INFO),
        (
            "2026-03-04 05:06:07,123 FATAL [RS:0;host:16020] regionserver.HRegionServer: x",
            T + 123 * MS,
            FATAL,
        ),
        ("2026-03-04 05:06:07,123 INFO org.apache.hadoop.mapred.X: y", T + 123 * MS, INFO),
        ("26/03/04 05:06:07 WARN spark.SparkConf: x", T, WARN),
        ("260304 050607 13 INFO dfs.FSNamesystem: x", T, INFO),
        ("2026-03-04 05:06:07 [myid:1] - INFO  [main:QuorumPeerConfig@136] - x", T, INFO),
        ("\tat com.example.App.run(App.java:12)", 0, NONE),
        ("Caused by: java.io.IOException: broken pipe", 0, NONE),
    ]);
}

#[test]
fn python_and_its_servers() {
    check(&[
        ("2026-03-04 05:06:07,123 - my.module - ERROR - x", T + 123 * MS, ERROR),
        ("2026-03-04 05:06:07,123 INFO my.module: x", T + 123 * MS, INFO),
        ("WARNING:root:x", 0, WARN),
        ("CRITICAL:my.module:x", 0, FATAL),
        ("INFO 2026-03-04 05:06:07,123 basehttp 12 345 x", T + 123 * MS, INFO),
        ("[2026-03-04 05:06:07 +0000] [12] [INFO] Booting worker", T, INFO),
        ("INFO:     10.0.0.1:1234 - \"GET / HTTP/1.1\" 200 OK", 0, INFO),
        ("[2026-03-04 05:06:07,123: WARNING/MainProcess] x", T + 123 * MS, WARN),
        ("[2026-03-04T05:06:07.123+0000] {taskinstance.py:12} INFO - x", T + 123 * MS, INFO),
        ("[04/Mar/2026 05:06:07] \"GET / HTTP/1.1\" 200 12", T, NONE),
        ("10.0.0.1 - - [04/Mar/2026 05:06:07] \"GET / HTTP/1.1\" 200 -", T, NONE),
        ("[I 2026-03-04 05:06:07.123 ServerApp] x", T + 123 * MS, INFO),
        ("[W 260304 05:06:07 web:1] 404 GET /", T, WARN),
        ("2026-03-04 05:06:07.123 25746 INFO nova.osapi [req-1 - - -] x", T + 123 * MS, INFO),
        (
            "nova.log.1.2026-05-16_13:53:08 2026-03-04 05:06:07.123 25746 WARNING nova.x [-] y",
            T + 123 * MS,
            WARN,
        ),
        (
            "2026-03-04 05:06:07,123 fail2ban.filter         [812]: INFO    [sshd] Found 10.0.0.1",
            T + 123 * MS,
            INFO,
        ),
        ("Traceback (most recent call last):", 0, NONE),
    ]);
}

#[test]
fn go_rust_ruby_php_node_and_dotnet() {
    check(&[
        ("2026/03/04 05:06:07 listening on :8080", T, NONE),
        ("2026/03/04 05:06:07.123456 main.go:12: x", T + 123_456_000, NONE),
        ("I0304 05:06:07.123456       1 controller.go:12] x", T + 123_456_000, INFO),
        ("E0304 05:06:07.123456   12345 server.cc:12] x", T + 123_456_000, ERROR),
        ("2026-03-04T05:06:07.123Z\tWARN\tserver/x.go:12\ty\t{\"a\": 1}", T + 123 * MS, WARN),
        ("2026-03-04T05:06:07.123Z [DEBUG] agent: x", T + 123 * MS, DEBUG),
        ("2026-03-04 05:06:07.123456 I | etcdserver: x", T + 123_456_000, INFO),
        ("[2026-03-04T05:06:07Z ERROR my_crate::module] x", T, ERROR),
        ("2026-03-04T05:06:07.123456Z  WARN my_crate: x", T + 123_456_000, WARN),
        ("E, [2026-03-04T05:06:07.123456 #1234] ERROR -- : x", T + 123_456_000, ERROR),
        ("[04-Mar-2026 05:06:07 UTC] PHP Warning:  x in /y on line 3", T, WARN),
        ("[04-Mar-2026 05:06:07] NOTICE: fpm is running, pid 1", T, NOTICE),
        ("[2026-03-04T05:06:07.123456+00:00] app.ERROR: x {\"a\":1} []", T + 123_456_000, ERROR),
        ("[2026-03-04 05:06:07] local.INFO: x", T, INFO),
        ("info: Microsoft.Hosting.Lifetime[0]", 0, INFO),
        ("fail: My.Service[12]", 0, ERROR),
        ("crit: My.Service[12]", 0, FATAL),
        ("[05:06:07 WRN] x", 0, WARN),
        ("2026-03-04 05:06:07.123 +00:00 [ERR] x", T + 123 * MS, ERROR),
        ("2026-03-04 05:06:07.1234|INFO|My.Logger|x", T + 123_400_000, INFO),
        ("2026-03-04 05:06:07,123 [1] FATAL My.Logger [(null)] - x", T + 123 * MS, FATAL),
        ("2026-03-04T05:06:07.123Z [app] error: x", T + 123 * MS, ERROR),
        ("error: x", 0, ERROR),
        ("2026-03-04T05:06:07.123Z info hostd[12] [Originator@1 sub=x] y", T + 123 * MS, INFO),
    ]);
}

#[test]
fn servers_and_databases() {
    check(&[
        ("2026/03/04 05:06:07 [error] 1234#1234: *1 open() \"/x\" failed", T, ERROR),
        ("2026/03/04 05:06:07 [notice] 1#1: start worker processes", T, NOTICE),
        ("2026/03/04 05:06:07 [crit] 1#1: x", T, FATAL),
        ("[Wed Mar 04 05:06:07 2026] [notice] x", T, NOTICE),
        ("[Wed Mar 04 05:06:07.123456 2026] [core:error] [pid 12:tid 34] AH00126: x", T + 123_456_000, ERROR),
        ("[Wed Mar 04 05:06:07.123456 2026] [ssl:warn] [pid 12] x", T + 123_456_000, WARN),
        ("10.0.0.1 - frank [04/Mar/2026:06:06:07 +0100] \"GET /ERROR HTTP/1.1\" 200 12", T, NONE),
        ("example.com:443 10.0.0.1 - - [04/Mar/2026:05:06:07 +0000] \"GET / HTTP/1.1\" 200 12", T, NONE),
        ("owner bucket [04/Mar/2026:05:06:07 +0000] 10.0.0.1 x REST.GET.OBJECT y", T, NONE),
        (
            "https 2026-03-04T05:06:07.123456Z app/x/y 10.0.0.1:1 10.0.0.2:2 0.0 200 \"GET\"",
            T + 123_456_000,
            NONE,
        ),
        ("1772600767.123     45 10.0.0.1 TCP_MISS/200 512 GET http://x/ - DIRECT/y", T + 123 * MS, NONE),
        ("2026/03/04 05:06:07| Starting Squid Cache", T, NONE),
        ("1772600767: mosquitto version 2 starting", T, NONE),
        ("2026-03-04 05:06:07.123 UTC [1234] ERROR:  relation \"x\" does not exist", T + 123 * MS, ERROR),
        ("2026-03-04 05:06:07.123 UTC [1234] LOG:  checkpoint starting", T + 123 * MS, INFO),
        ("2026-03-04 05:06:07.123 UTC [1234] user@db FATAL:  x", T + 123 * MS, FATAL),
        ("2026-03-04T05:06:07.123456Z 0 [Warning] [MY-010068] [Server] x", T + 123_456_000, WARN),
        ("2026-03-04T05:06:07.123456Z 0 [System] [MY-010931] [Server] x", T + 123_456_000, INFO),
        ("2026-03-04  5:06:07 0 [Note] mariadbd: ready", T, INFO),
        ("260304  5:06:07 [ERROR] x", T, ERROR),
        ("1234:M 04 Mar 2026 05:06:07.123 * Ready to accept connections", T + 123 * MS, NOTICE),
        ("1234:S 04 Mar 2026 05:06:07.123 # Connection lost", T + 123 * MS, WARN),
        ("2026-03-04T05:06:07.123+0000 I NETWORK  [conn1] x", T + 123 * MS, INFO),
        ("2026-03-04 05:06:07.123456+00:00 [info] <0.1.0> x", T + 123_456_000, INFO),
        ("2026-03-04T05:06:07.123+0000 7f12 -1 osd.0 12 x", T + 123 * MS, NONE),
        ("2026-03-04 05:06:07.12 spid5s      Starting up database", T + 120 * MS, NONE),
        ("Wed Mar  4 05:06:07 2026 daemon started", T, NONE),
        ("Wed Mar  4 05:06:07 UTC 2026 x", T, NONE),
        ("Wed, 04 Mar 2026 05:06:07 GMT x", T, NONE),
        ("[Mar  4 05:06:07] NOTICE[123][C-1] chan_sip.c: x", T, NOTICE),
        ("[2026-03-04 05:06:07] WARNING[1] res.c: x", T, WARN),
        ("2026-03-04 05:06:07 status installed x:amd64", T, NONE),
        ("[2026/03/04 05:06:07.123456,  0] ../source3/smbd/server.c:12(main)", T + 123_456_000, NONE),
        ("@4000000069a7bdc90c2b1a74 starting", 1_772_600_767_204_151_412, NONE),
        (
            "type=SYSCALL msg=audit(1772600767.123:42): arch=c000003e syscall=59 success=yes",
            T + 123 * MS,
            NONE,
        ),
        ("03/04-05:06:07.123456  [**] [1:1:1] x [**]", T + 123_456_000, NONE),
        ("03/04/26-05:06:07.123456  [**] x", T + 123_456_000, NONE),
    ]);
}

#[test]
fn syslog_with_and_without_priority() {
    check(&[
        ("Mar  4 05:06:07 host sshd[123]: Failed password for root", T, NONE),
        ("Mar 04 05:06:07 host kernel: [12.345] x", T, NONE),
        ("Mar  4 05:06:07 host sshd[123]: error: x", T, ERROR),
        ("Mar  4 05:06:07.123 host x: y", T + 123 * MS, NONE),
        ("<34>Mar  4 05:06:07 host su: 'su root' failed", T, 18),
        ("<13>Mar  4 05:06:07 host x: y", T, NOTICE),
        ("<165>1 2026-03-04T05:06:07.003Z host app - ID47 [a@1 b=\"c\"] x", T + 3 * MS, NOTICE),
        ("<191>1 2026-03-04T05:06:07-00:00 host app 1 - - x", T, DEBUG),
        ("<0>1 - host app - - - x", 0, FATAL),
        ("2026-03-04T05:06:07.123456+00:00 host systemd[1]: Started x.", T + 123_456_000, NONE),
        ("*Mar  4 05:06:07.123: %SYS-5-CONFIG_I: Configured from console", T + 123 * MS, NOTICE),
        ("000123: Mar  4 05:06:07: %LINK-3-UPDOWN: x", T, ERROR),
        ("Mar 04 2026 05:06:07: %ASA-6-302013: Built x", T, INFO),
        ("Mar  4 05:06:07 host app[1]: 2026-03-04 05:06:07,123 WARN x", T, WARN),
        ("Jul  1 09:00:55 calvin-10 kernel[0]: x", 1_782_896_455_000_000_000, NONE),
    ]);
}

#[test]
fn phones_supercomputers_and_desktops() {
    check(&[
        ("03-04 05:06:07.123  1702  2395 D WindowManager: x", T + 123 * MS, DEBUG),
        ("03-04 05:06:07.123  1702  2395 V Tag: x", T + 123 * MS, TRACE),
        ("03-04 05:06:07.123 1702-2395/com.example E/Tag: x", T + 123 * MS, ERROR),
        ("03-04 05:06:07.123 W/Tag( 1702): x", T + 123 * MS, WARN),
        ("E/AndroidRuntime( 1702): x", 0, ERROR),
        ("20260304-5:6:7:6|Step_LSC|30002312|x", T + 6 * MS, NONE),
        ("[03.04 05:06:07] chrome.exe - proxy.example.com:5070 open through proxy", T, NONE),
        ("2026-03-04 05:06:07, Info                  CBS    Loaded x", T, INFO),
        ("2026-03-04 05:06:07, Error                 CSI    x", T, ERROR),
        (
            "- 1772600767 2026.03.04 R0-M1 2026-03-04-05.06.07.123456 R0-M1 RAS KERNEL INFO x",
            T + 123_456_000,
            INFO,
        ),
        (
            "APPREAD 1772600767 2026.03.04 R0-M1 2026-03-04-05.06.07.123456 R0-M1 RAS APP FATAL x",
            T + 123_456_000,
            FATAL,
        ),
        (
            "- 1772600767 2026.03.04 R0 2026-03-04-05.06.07.123456 R0 NULL DISCOVERY SEVERE x",
            T + 123_456_000,
            ERROR,
        ),
        (
            "- 1772600767 2026.03.04 UNKNOWN 2026-03-04-05.06.07.123456 NULL RAS BGLMASTER FAILURE x",
            T + 123_456_000,
            ERROR,
        ),
        ("- 1772600767 2026.03.04 dn228 Mar 4 00:06:07 dn228/dn228 crond[2915]: session closed", T, NONE),
        ("134681 node-246 unix.hw state_change.unavailable 1772600767 1 Component State Change", T, NONE),
        ("460903 node-[1-3 5] action start 1772600767 1 x", T, NONE),
        ("2026-03-04 05:06:07.123456+0000 host app[1]: (lib) x", T + 123_456_000, NONE),
    ]);
}

#[test]
fn containers_and_what_they_wrap() {
    check(&[
        ("2026-03-04T05:06:07.123456789Z stdout F INFO x", T + 123_456_789, INFO),
        ("2026-03-04T05:06:07.123456789Z stderr F error: x", T + 123_456_789, ERROR),
        (
            "2026-03-04T05:06:08Z stdout F {\"time\":\"2026-03-04T05:06:07Z\",\"level\":\"warn\",\"msg\":\"x\"}",
            T,
            WARN,
        ),
        ("web_1  | 2026-03-04T05:06:07Z INFO x", T, INFO),
        ("[pod/web-1/app] 2026-03-04T05:06:07Z ERROR x", T, ERROR),
    ]);
}

#[test]
fn seconds_to_nanoseconds_since_1970() {
    check(&[
        ("1772600767 x", T, NONE),
        ("1772600767123 x", T + 123 * MS, NONE),
        ("1772600767123456 x", T + 123_456_000, NONE),
        ("1772600767123456789 x", T + 123_456_789, NONE),
        ("[1772600767.123456] x", T + 123_456_000, NONE),
        ("1772600767,INFO,x", T, INFO),
        ("17726007671 x", 0, NONE),
        ("1772600767-1 x", 0, NONE),
        ("0000000012 x", 0, NONE),
        ("9999999999999999999 x", 0, NONE),
    ]);
}

#[test]
fn sentences_are_neither_times_nor_levels() {
    check(&[
        ("", 0, NONE),
        ("the error was not found", 0, NONE),
        ("may contain info on errors", 0, NONE),
        ("certificate is valid until 2030-01-01 00:00:00", 0, NONE),
        ("expires 2030-01-01 00:00:00", 0, NONE),
        ("10.20.30.40 connected", 0, NONE),
        ("12.5 of 20 done", 0, NONE),
        ("version 2026.03.04 is out", 0, NONE),
        ("2026-03-04 is a Wednesday", 0, NONE),
        ("March forward", 0, NONE),
        ("Mar 45 05:06:07 x", 0, NONE),
        ("2026-13-04 05:06:07 x", 0, NONE),
        ("1492-03-04 05:06:07 x", 0, NONE),
        ("2026-03-04 25:06:07 x", 0, NONE),
        ("2026-03-04 05:06:07 I/O error on sda: x", T, NONE),
        ("2026-03-04 05:06:07 A new day", T, NONE),
        ("2026-03-04 05:06:07 I am here", T, NONE),
        ("2026-03-04 05:06:07 connection fine, log written", T, NONE),
        ("2026-03-04 05:06:07 user=alert note: x", T, NONE),
    ]);
}

#[test]
fn a_date_of_two_readings_is_no_time_and_says_so() {
    let recognised = |line: &str, day_order| {
        let found = recognise(line.as_bytes(), OBSERVED, &Settings { day_order, ..Settings::default() });
        (found.time.map(|time| time.unix_nano), found.doubt)
    };
    let ambiguous = (None, Some(Doubt::DayOrMonth));
    assert_eq!(recognised("03/04/2026 05:06:07 x", None), ambiguous);
    assert_eq!(recognised("3/4/2026 5:06:07 AM x", None), ambiguous);
    assert_eq!(recognised("[3/4/26 5:06:07:123 CET] 00000001 Class A x", None), ambiguous);
    assert_eq!(recognised("04-03 05:06:07 x", None), ambiguous);
    assert_eq!(recognised("03/04/26 05:06:07 x", None), ambiguous);

    assert_eq!(recognised("03/04/2026 05:06:07 x", Some(DayOrder::MonthFirst)), (Some(T), None));
    assert_eq!(recognised("04/03/2026 05:06:07 x", Some(DayOrder::DayFirst)), (Some(T), None));
    assert_eq!(recognised("04.03.2026 05:06:07 x", None), (Some(T), None));
    assert_eq!(recognised("04.03. 05:06:07 x", None), (Some(T), None));
    let christmas = Some(1_766_638_800_000_000_000);
    assert_eq!(recognised("12/25/2025 05:00:00 x", None), (christmas, None));
    assert_eq!(recognised("25/12/2025 05:00:00 x", None), (christmas, None));
    assert_eq!(recognised("25-12-2025 5:00:00 AM x", None), (christmas, None));
    assert_eq!(recognised("05/05/2026 00:00:00 x", None), (Some(1_777_939_200_000_000_000), None));

    assert_eq!(recognised("05:06:07.123 x", None), (None, Some(Doubt::NoDate)));
}

#[test]
fn a_missing_year_is_the_latest_that_is_not_in_the_future() {
    // 2025-01-01T00:30:00Z
    let new_year = 1_735_691_400_000_000_000_u64;
    let time = |line: &str, observed| {
        let Some(time) = recognise(line.as_bytes(), observed, &Settings::default()).time else { return 0 };
        assert!(time.year_assumed && time.zone_assumed);
        time.unix_nano
    };
    assert_eq!(time("Dec 31 23:30:00 host x", new_year), 1_735_687_800_000_000_000);
    assert_eq!(time("Jan  1 00:20:00 host x", new_year), 1_735_690_800_000_000_000);
    // A host whose zone is ahead of ours.
    assert_eq!(time("Jan  1 12:00:00 host x", new_year), 1_735_732_800_000_000_000);
    assert_eq!(time("Jan  3 00:00:00 host x", new_year), 1_704_240_000_000_000_000);
    // 29 February was in 2024.
    assert_eq!(time("Feb 29 00:00:00 host x", OBSERVED), 1_709_164_800_000_000_000);
}

#[test]
fn a_missing_zone_is_that_of_the_settings() {
    let settings = Settings { zone: Zone::fixed(3600), ..Settings::default() };
    let none = Time { unix_nano: 0, step: 0, zone_assumed: false, year_assumed: true };
    let time = |line: &str| recognise(line.as_bytes(), OBSERVED, &settings).time.unwrap_or(none);

    let assumed = time("2026-03-04 06:06:07,123 x");
    assert_eq!((assumed.unix_nano, assumed.zone_assumed, assumed.step), (T + 123 * MS, true, 1_000_000));
    let written = time("2026-03-04 05:06:07 UTC x");
    assert_eq!((written.unix_nano, written.zone_assumed, written.step), (T, false, 1_000_000_000));
    let unknown = time("2026-03-04 05:06:07 CST x");
    assert_eq!((unknown.unix_nano, unknown.zone_assumed), (T - HOUR, true));
    let behind = time("Wed Mar  4 05:06:07 CST 2026 x");
    assert_eq!((behind.unix_nano, behind.zone_assumed, behind.year_assumed), (T - HOUR, true, false));
    assert!(!time("1772600767 x").zone_assumed);
}

#[test]
fn the_message_is_what_follows_time_and_level() {
    for (line, message, text) in [
        ("2026-03-04 05:06:07,123 - WARN  [a:b@1] - x", "[a:b@1] - x", Some("WARN")),
        ("[2026-03-04 05:06:07] [error] x", "x", Some("error")),
        ("<34>Mar  4 05:06:07 host su: x", "host su: x", Some("34")),
        ("03-04 05:06:07.123  1702  2395 D Tag: x", "Tag: x", Some("D")),
        ("I0304 05:06:07.123456       1 a.go:12] x", "1 a.go:12] x", Some("I")),
        ("2026-03-04T05:06:07.1Z stdout F x", "x", None),
        ("\t[no head at all]", "\t[no head at all]", None),
        ("no head at all", "no head at all", None),
        ("WARN x", "x", Some("WARN")),
    ] {
        let found = recognise(line.as_bytes(), OBSERVED, &Settings::default());
        assert_eq!(String::from_utf8_lossy(&found.message), message, "{line}");
        assert_eq!(found.severity.as_ref().map(|severity| severity.text.as_ref()), text, "{line}");
    }
}

//! The server: whether it answers, what it is, and whether it keeps what it is given.

use std::time::Duration;

use streamerson::{
    core::{SharedBroker, UnixMillis},
    redis::{
        RedisBroker, RedisUrl,
        examine::{Examiner, ServerInfo},
    },
};

use super::{
    finding::{Findings, Level},
    not_asked,
};
use crate::{failure::Failure, human};

/// A command that a server must have, and newer ones that it may have.
const NEEDED: &str = "XAUTOCLAIM";
const NEWER: [&str; 3] = ["XACKDEL", "XDELEX", "XNACK"];

/// From here on an answer takes long: each request takes some of them.
const SLOW: Duration = Duration::from_millis(20);

/// Clocks this far apart show in logs; nothing of ours minds.
const CLOCK_APART: Duration = Duration::from_secs(1);
const CLOCK_WRONG: Duration = Duration::from_secs(60);

/// How far a replica may be behind, in seconds and in bytes.
const REPLICA_LAG_SECONDS: u64 = 10;
const REPLICA_LAG_BYTES: u64 = 16 * 1024 * 1024;

/// The longest time for which readers wait in silence, in seconds; a server must not cut them off before.
const SILENCE_SECONDS: u64 = 60;

pub(super) async fn look(
    url: &RedisUrl,
    redis: &RedisBroker,
    broker: &SharedBroker,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let examiner = redis.examiner();
    connection(url, &examiner, findings).await?;
    clock(broker, findings)?;
    let info = match examiner.info().await {
        Ok(info) => info,
        Err(error) => {
            not_asked(findings, "server", "version, memory, persistence and replication", &error)?;
            return verbs(&examiner, findings).await;
        }
    };
    server(&info, findings)?;
    verbs(&examiner, findings).await?;
    memory(&info, findings)?;
    eviction(&info, findings)?;
    persistence(&examiner, &info, findings).await?;
    replication(&info, findings)?;
    clients(&examiner, &info, findings).await
}

async fn connection(url: &RedisUrl, examiner: &Examiner<'_>, findings: &mut Findings) -> Result<(), Failure> {
    match examiner.ping().await {
        Ok(took) if took > SLOW => {
            let what = format!("{url} answers in {}, which is long", millis(took));
            findings.add(
                "connection",
                Level::Warn,
                what,
                Some("each request waits for several answers: run gateways and workers near the broker"),
            )
        }
        Ok(took) => findings.add("connection", Level::Ok, format!("{url} answers in {}", millis(took)), None),
        Err(error) => not_asked(findings, "connection", "the time that an answer takes", &error),
    }
}

fn clock(broker: &SharedBroker, findings: &mut Findings) -> Result<(), Failure> {
    let (there, here) = (broker.now(), UnixMillis::of_this_machine());
    let apart = there.since(here).max(here.since(there));
    let what = match apart {
        apart if apart < CLOCK_APART => {
            return findings.add("clock", Level::Ok, format!("{} apart from this machine's", human::age(apart)), None);
        }
        apart if there > here => format!("the broker's clock is {} ahead of this machine's", human::age(apart)),
        apart => format!("the broker's clock is {} behind this machine's", human::age(apart)),
    };
    let level = if apart >= CLOCK_WRONG { Level::Warn } else { Level::Note };
    let advice = "deadlines go by the broker's clock everywhere, so nothing breaks; but logs and dead letters will not fit together: run NTP on both";
    findings.add("clock", level, what, Some(advice))
}

fn server(info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    let name = info.server().unwrap_or_else(|| "of an unknown kind".to_owned());
    let mode = info.get("redis_mode").or_else(|| info.get("server_mode")).unwrap_or("standalone");
    let up =
        info.number("uptime_in_seconds").map(|seconds| format!(", up {}", human::age(Duration::from_secs(seconds))));
    let what = format!("{name}, {mode}{}", up.unwrap_or_default());
    if mode == "cluster" {
        let advice = "an address names one server, and topics whose keys lie on others cannot be reached: use a server that is no cluster";
        return findings.add("server", Level::Problem, what, Some(advice));
    }
    if info.number("loading") == Some(1) {
        return findings.add(
            "server",
            Level::Problem,
            format!("{what}; it still loads its data"),
            Some("wait until it has; everything reconnects by itself"),
        );
    }
    findings.add("server", Level::Ok, what, None)
}

/// By trying, since versions don't tell.
async fn verbs(examiner: &Examiner<'_>, findings: &mut Findings) -> Result<(), Failure> {
    let mut newer = Vec::new();
    for verb in NEWER {
        match examiner.has_command(verb).await {
            Ok(true) => newer.push(verb),
            Ok(false) => {}
            Err(error) => return not_asked(findings, "commands", "commands", &error),
        }
    }
    match examiner.has_command(NEEDED).await {
        Ok(true) => {
            let newer = if newer.is_empty() {
                "none of the newer ones".to_owned()
            } else {
                format!("and {}", newer.join(", "))
            };
            findings.add("commands", Level::Ok, format!("has {NEEDED}, {newer}"), None)
        }
        Ok(false) => findings.add(
            "commands",
            Level::Problem,
            format!("lacks {NEEDED}, so what a dead member held is never taken over"),
            Some("use Redis 6.2 or later, Valkey, or what has this command"),
        ),
        Err(error) => not_asked(findings, "commands", "commands", &error),
    }
}

fn memory(info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    let (Some(used), Some(max)) = (info.number("used_memory"), info.number("maxmemory")) else { return Ok(()) };
    if max == 0 {
        let total = info.number("total_system_memory").filter(|total| *total > 0);
        let of = total.map(|total| format!(", of {} that the machine has", human::bytes(total)));
        let what = format!("{} used{}, and no maxmemory", human::bytes(used), of.unwrap_or_default());
        let advice = "set maxmemory: without one, the kernel decides who is killed when memory is short";
        let is_near = total.is_some_and(|total| used / (total / 100).max(1) >= 75);
        return findings.add("memory", if is_near { Level::Warn } else { Level::Note }, what, Some(advice));
    }
    let percent = used / (max / 100).max(1);
    let what = format!("{} used of {} ({percent} %)", human::bytes(used), human::bytes(max));
    let advice = "`streamerson topics` shows which stream is long; start workers, drop groups that nobody reads, or raise maxmemory";
    match percent {
        90.. => findings.add("memory", Level::Problem, what, Some(advice)),
        75.. => findings.add("memory", Level::Warn, what, Some(advice)),
        _ => findings.add("memory", Level::Ok, what, None),
    }
}

fn eviction(info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    let Some(policy) = info.get("maxmemory_policy") else { return Ok(()) };
    let evicted = info.number("evicted_keys").unwrap_or(0);
    if policy == "noeviction" {
        return findings.add("eviction", Level::Ok, "noeviction: a full server refuses, and drops nothing", None);
    }
    let dropped = match policy.starts_with("allkeys-") {
        true => "any stream, with what waits in it",
        false => "inboxes, with the replies in them",
    };
    let advice = Some("set maxmemory-policy noeviction");
    let limited = info.number("maxmemory") != Some(0);
    match (evicted, limited) {
        (1.., _) => {
            let keys = human::counted(evicted, "key", "keys");
            findings.add("eviction", Level::Problem, format!("{policy} has dropped {keys}: it takes {dropped}"), advice)
        }
        (0, true) => {
            let level = if policy.starts_with("allkeys-") { Level::Problem } else { Level::Warn };
            findings.add(
                "eviction",
                level,
                format!("{policy}: a full server drops {dropped}, and tells nobody"),
                advice,
            )
        }
        (0, false) => findings.add(
            "eviction",
            Level::Note,
            format!("{policy}, without effect until there is a maxmemory"),
            advice,
        ),
    }
}

async fn persistence(examiner: &Examiner<'_>, info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    let failed = |name: &str| info.get(name).is_some_and(|status| status != "ok");
    let is_aof = info.number("aof_enabled") == Some(1);
    let log = "look into the server's log, and at the room on its disk; it may refuse writes until this is mended";
    if failed("rdb_last_bgsave_status") {
        findings.add("persistence", Level::Problem, "the last snapshot failed", Some(log))?;
    }
    if is_aof && (failed("aof_last_write_status") || failed("aof_last_bgrewrite_status")) {
        findings.add(
            "persistence",
            Level::Problem,
            "the last write or rewrite of the append-only file failed",
            Some(log),
        )?;
    }
    if is_aof {
        let fsync = examiner.setting("appendfsync").await.ok().flatten();
        let what =
            format!("append-only file{}", fsync.as_ref().map_or_else(String::new, |fsync| format!(", fsync {fsync}")));
        return match fsync.as_deref() {
            Some("no") => findings.add(
                "persistence",
                Level::Note,
                what,
                Some("appendfsync everysec bounds what a crash of the machine loses to about a second"),
            ),
            _ => findings.add("persistence", Level::Ok, what, None),
        };
    }
    let advice = "appendonly yes and appendfsync everysec lose about a second at worst; docs/operations.md says what each choice may lose";
    // Managed servers hide their settings; then there may be snapshots.
    match examiner.setting("save").await {
        Ok(Some(save)) if save.is_empty() => findings.add(
            "persistence",
            Level::Warn,
            "nothing is kept on disk: a restart loses all that waits",
            Some(advice),
        ),
        setting => {
            let since = info.number("rdb_changes_since_last_save").unwrap_or(0);
            let loses = format!(
                "a crash loses what came after the last one, {} by now",
                human::counted(since, "change", "changes")
            );
            let what = match setting {
                Ok(Some(_)) => format!("snapshots only: {loses}"),
                _ => format!(
                    "no append-only file, and this user may not ask for snapshots: without them a restart loses all that \
                     waits, and with them {loses}"
                ),
            };
            findings.add("persistence", Level::Note, what, Some(advice))
        }
    }
}

fn replication(info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    let role = info.get("role").unwrap_or("master");
    if matches!(role, "slave" | "replica") {
        let link = info.get("master_link_status").unwrap_or("unknown");
        let what = format!("this is a replica, whose link to its primary is {link}: it takes no writes");
        return findings.add("replication", Level::Problem, what, Some("name the primary with --broker"));
    }
    let replicas = info.replicas();
    if replicas.is_empty() {
        return findings.add("replication", Level::Ok, "a primary without replicas", None);
    }
    let written = info.number("master_repl_offset");
    let mut behind = Vec::new();
    for replica in &replicas {
        let bytes = written.zip(replica.offset).map(|(written, has)| written.saturating_sub(has)).unwrap_or(0);
        let is_late = replica.lag.is_some_and(|lag| lag > REPLICA_LAG_SECONDS) || bytes > REPLICA_LAG_BYTES;
        if replica.state != "online" || is_late {
            let lag = replica.lag.map_or_else(String::new, |lag| format!(", silent for {lag}s"));
            behind.push(format!("{} is {}, {} behind{lag}", replica.address, replica.state, human::bytes(bytes)));
        }
    }
    let count = human::counted(replicas.len() as u64, "replica", "replicas");
    match behind.is_empty() {
        true => findings.add("replication", Level::Ok, format!("a primary with {count}, none behind"), None),
        false => findings.add(
            "replication",
            Level::Warn,
            format!("a primary with {count}: {}", behind.join("; ")),
            Some("a failover loses what the replica does not have: look at its log and at the network between"),
        ),
    }
}

async fn clients(examiner: &Examiner<'_>, info: &ServerInfo, findings: &mut Findings) -> Result<(), Failure> {
    if let Some(seconds @ 1..SILENCE_SECONDS) = setting_number(examiner, "timeout").await {
        let what = format!("timeout is {seconds}s: the server cuts off connections that are quiet for so long");
        findings.add("clients", Level::Warn, what, Some("set timeout 0, its default, or more than 60"))?;
    }
    let rejected = info.number("rejected_connections").unwrap_or(0);
    let (Some(clients), Some(max)) = (info.number("connected_clients"), info.number("maxclients")) else {
        return Ok(());
    };
    let what = format!("{} of {} connections", human::count(clients), human::count(max));
    let advice = Some("raise maxclients: a process has a connection for what it sends, and one for each reader");
    if clients * 100 >= max * 90 {
        findings.add("clients", Level::Problem, what, advice)
    } else if rejected > 0 {
        let what = format!("{what}; {} refused since it started", human::count(rejected));
        findings.add("clients", Level::Warn, what, advice)
    } else {
        findings.add("clients", Level::Ok, what, None)
    }
}

async fn setting_number(examiner: &Examiner<'_>, name: &str) -> Option<u64> {
    examiner.setting(name).await.ok()??.parse().ok()
}

/// Milliseconds with two digits that count: answers take fractions of one.
fn millis(took: Duration) -> String {
    let millis = took.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

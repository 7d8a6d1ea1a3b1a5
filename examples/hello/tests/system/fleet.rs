//! The processes, and what the broker knows of them.

use std::{fs, net::SocketAddr, process::Command};

use streamerson_test::{Process, RedisServer, Value, eventually};

pub(crate) const INBOUND: &str = "{default:greetings}:in";
pub(crate) const DEAD: &str = "{default:greetings}:dead";
pub(crate) const GROUP: &str = "greetings";

/// The example with these arguments.
pub(crate) fn hello(arguments: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    // What is logged by default is a part of what is tested.
    command.args(arguments.split_whitespace()).env_remove("RUST_LOG");
    Process::spawn(command)
}

/// A gateway and where it listens.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(server: &RedisServer, options: &str) -> Self {
        let process = hello(&format!("gateway --listen 127.0.0.1:0 --broker {} {options}", server.url()));
        let line = process.stderr_line("listening on http://").await;
        let address = line.rsplit_once('/').expect("a URL").1.parse().expect("an address");
        Self { process, address }
    }
}

/// Starts a worker and waits until it has joined its group.
pub(crate) async fn worker(server: &RedisServer, options: &str) -> Process {
    let process = hello(&format!("worker --broker {} {options}", server.url()));
    process.stderr_line("consumer started").await;
    process
}

/// The name of a worker's member, from its log.
pub(crate) async fn member_name(worker: &Process) -> String {
    let line = worker.stderr_line("consumer started").await;
    let name = line.split_once("member=").expect("a member").1;
    name.split(' ').next().expect("a name").to_owned()
}

/// Asks a process to stop; fails unless it does so as it should.
pub(crate) async fn stop(process: Process) -> String {
    let finished = process.terminate().await;
    assert!(finished.status.success(), "{}: {}", finished.status, finished.stderr);
    finished.stderr
}

/// How much memory a process has, where the system says so.
pub(crate) fn resident_mib(process: &Process) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    Some(kib / 1024)
}

/// One field of a list of names and values, which is how `XINFO` answers.
fn field<'a>(info: &'a Value, name: &str) -> Option<&'a Value> {
    info.items().chunks(2).find(|pair| pair[0].text() == name).map(|pair| &pair[1])
}

/// How many deliveries are pending in the group.
pub(crate) async fn pending(server: &RedisServer) -> i64 {
    let groups = server.command(["XINFO", "GROUPS", INBOUND]).await;
    let group = groups.items().iter().find(|group| field(group, "name").expect("a name").text() == GROUP);
    field(group.expect("the group"), "pending").expect("a count").int()
}

/// How many deliveries are pending with each member.
pub(crate) async fn members(server: &RedisServer) -> Vec<(String, i64)> {
    let members = server.command(["XINFO", "CONSUMERS", INBOUND, GROUP]).await;
    let member = |info: &Value| {
        let (name, pending) = (field(info, "name").expect("a name"), field(info, "pending").expect("a count"));
        (name.text().to_owned(), pending.int())
    };
    members.items().iter().map(member).collect()
}

pub(crate) async fn len(server: &RedisServer, key: &str) -> i64 {
    server.command(["XLEN", key]).await.int()
}

/// How many entries were ever appended to a stream; Redis counts them from 7.0 on.
pub(crate) async fn appended(server: &RedisServer, key: &str) -> Option<i64> {
    let info = server.command(["XINFO", "STREAM", key]).await;
    field(&info, "entries-added").map(Value::int)
}

/// A number that rises with every request that is stored and not yet trimmed, on servers of any age.
pub(crate) async fn appended_or_len(server: &RedisServer) -> i64 {
    match appended(server, INBOUND).await {
        Some(appended) => appended,
        None => len(server, INBOUND).await,
    }
}

/// The inboxes of all gateways.
pub(crate) async fn inboxes(server: &RedisServer) -> Vec<String> {
    let keys = server.command(["KEYS", "{default:greetings}:re:*"]).await;
    keys.items().iter().map(|key| key.text().to_owned()).collect()
}

/// Waits until nothing is pending.
pub(crate) async fn settled(server: &RedisServer) {
    eventually("nothing is pending", async || (pending(server).await == 0).then_some(())).await;
}

/// Waits until a stream is trimmed to what trimming by whole nodes of 100 entries leaves.
pub(crate) async fn trimmed(server: &RedisServer, key: &str) {
    eventually(&format!("{key} is trimmed"), async || (len(server, key).await <= 200).then_some(())).await;
}

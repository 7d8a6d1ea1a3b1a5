//! Members, each a process, and what they did.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use faults::{Journal, Line, TOPIC, What, now_micros};
use streamerson::Topic;
use streamerson_test::{Process, RedisServer, ScratchDir, Signal, Value};

/// How long it may take until all is settled: what was killed last waits for its lease, and the machine may be busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) fn topic() -> Topic {
    Topic::new(TOPIC).unwrap()
}

/// All members that ever were.
pub(crate) struct Fleet {
    url: String,
    options: String,
    directory: ScratchDir,
    members: Vec<Member>,
    /// When each process was killed, by its number.
    killed: BTreeMap<usize, u64>,
    started: usize,
}

/// A member that runs.
pub(crate) struct Member {
    pub(crate) number: usize,
    pub(crate) process: Process,
}

/// What one process did.
#[derive(Debug)]
pub(crate) struct Deeds {
    pub(crate) lines: Vec<Line>,
    /// When it was killed, if it was.
    pub(crate) killed_micros: Option<u64>,
}

impl Fleet {
    pub(crate) async fn start(url: &str, members: usize, options: &str) -> Self {
        let mut fleet = Self {
            url: url.to_owned(),
            options: options.to_owned(),
            directory: ScratchDir::new(),
            members: Vec::new(),
            killed: BTreeMap::new(),
            started: 0,
        };
        for _ in 0..members {
            fleet.add();
        }
        for member in &fleet.members {
            member.process.stderr_line("consumer started").await;
        }
        fleet
    }

    /// Starts one more, and does not wait for it.
    pub(crate) fn add(&mut self) -> &Member {
        let number = self.started;
        self.started += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
        command.arg(&self.url).arg(self.journal(number)).args(self.options.split_whitespace());
        command.env("RUST_LOG", "info");
        self.members.push(Member { number, process: Process::spawn(command) });
        self.members.last().unwrap()
    }

    fn journal(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("{number}.journal"))
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many handlers have begun so far.
    pub(crate) fn begun(&self) -> usize {
        self.count(What::Begun)
    }

    /// How many have ended.
    pub(crate) fn ended(&self) -> usize {
        self.count(What::Ended)
    }

    fn count(&self, what: What) -> usize {
        let lines = (0..self.started).flat_map(|number| self.read(number));
        lines.filter(|line| line.what == what).count()
    }

    fn read(&self, number: usize) -> Vec<Line> {
        let path = self.journal(number);
        // One that was killed before it began has none.
        if fs::exists(&path).unwrap() { Journal::read(path).unwrap() } else { Vec::new() }
    }

    /// Kills one of those that run.
    pub(crate) async fn kill_one(&mut self) {
        let member = self.members.swap_remove(fastrand::usize(0..self.members.len()));
        member.process.signal(Signal::Kill);
        self.killed.insert(member.number, now_micros());
        member.process.wait().await;
    }

    /// Kills one at random each time `pause` has passed and starts another, until `over` is ready. Answers how many.
    pub(crate) async fn kill_at_random(&mut self, pause: Duration, over: impl Future<Output = ()>) -> usize {
        let mut over = std::pin::pin!(over);
        let mut kills = 0;
        loop {
            tokio::select! {
                () = &mut over => return kills,
                () = tokio::time::sleep(pause) => {}
            }
            self.kill_one().await;
            self.add();
            kills += 1;
        }
    }

    /// Starts anew what has died by itself, until `over` is ready. Answers how often.
    pub(crate) async fn revive(&mut self, over: impl Future<Output = ()>) -> usize {
        let mut over = std::pin::pin!(over);
        let mut deaths = 0;
        loop {
            tokio::select! {
                () = &mut over => return deaths,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            while let Some(dead) = self.members.iter_mut().position(|member| member.process.has_ended()) {
                let member = self.members.swap_remove(dead);
                self.killed.insert(member.number, now_micros());
                self.add();
                deaths += 1;
            }
        }
    }

    /// Stops all in an orderly way, and answers what each process did.
    pub(crate) async fn end(mut self) -> Vec<Deeds> {
        for member in self.members.drain(..) {
            let finished = member.process.terminate().await;
            assert!(finished.status.success(), "{}: {}", finished.status, finished.stderr);
        }
        (0..self.started)
            .map(|number| Deeds { lines: self.read(number), killed_micros: self.killed.get(&number).copied() })
            .collect()
    }
}

/// Waits until nothing is unread or pending, in any shard.
pub(crate) async fn settled(server: &RedisServer, shards: u32) {
    let topics = if shards == 0 { vec![topic()] } else { (0..shards).map(|shard| topic().with_shard(shard)).collect() };
    for topic in topics {
        let key = topic.inbound();
        let begun = Instant::now();
        while !is_settled(server, key.as_str()).await {
            assert!(begun.elapsed() < SETTLED_WITHIN, "{key} is not settled");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn is_settled(server: &RedisServer, key: &str) -> bool {
    let Value::Array(groups) = server.command(["XINFO", "GROUPS", key]).await else { return true };
    let last = server.command(["XINFO", "STREAM", key]).await;
    let last = field(&last, "last-generated-id").text().to_owned();
    groups.iter().all(|group| field(group, "pending").int() == 0 && field(group, "last-delivered-id").text() == last)
}

/// One field of a list of names and values, which is how `XINFO` answers.
fn field<'a>(info: &'a Value, name: &str) -> &'a Value {
    info.items().chunks(2).find(|pair| pair[0].text() == name).map(|pair| &pair[1]).unwrap()
}

pub(crate) async fn dead_letters(server: &RedisServer) -> i64 {
    server.command(["XLEN", topic().dead().as_str()]).await.int()
}

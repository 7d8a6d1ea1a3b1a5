//! Time, processor time and latencies of one run.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use streamerson_test::RedisServer;

/// What one run took.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) ops: usize,
    pub(crate) elapsed: Duration,
    /// Processor time of this process: callers and workers.
    pub(crate) client_cpu: Duration,
    /// Processor time of the server, where there is one.
    pub(crate) redis_cpu: Option<Duration>,
    /// In order; none where a single operation has no beginning and end of its own.
    latencies: Vec<Duration>,
}

impl Sample {
    pub(crate) fn per_second(&self) -> f64 {
        self.ops as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that so many of a hundred operations did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        self.latencies.get(last * percent / 100).copied()
    }
}

/// The server's part of a measurement: its process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerProcess(u32);

impl ServerProcess {
    pub(crate) async fn of(server: &RedisServer) -> io::Result<Self> {
        let info = server.command(["INFO", "server"]).await;
        let id = info.text().lines().find_map(|line| line.strip_prefix("process_id:"));
        id.and_then(|id| id.trim().parse().ok()).map(Self).ok_or_else(|| io::Error::other("no process id in INFO"))
    }
}

/// A measurement that is under way.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Option<ServerProcess>,
    client_cpu: Duration,
    redis_cpu: Option<Duration>,
    since: Instant,
}

impl Meter {
    pub(crate) fn start(server: Option<ServerProcess>) -> io::Result<Self> {
        Ok(Self {
            server,
            client_cpu: cpu_time("self")?,
            redis_cpu: server_cpu_time(server)?,
            // Last, so that reading the others is not part of it.
            since: Instant::now(),
        })
    }

    pub(crate) fn stop(self, ops: usize, mut latencies: Vec<Duration>) -> io::Result<Sample> {
        let elapsed = self.since.elapsed();
        let client_cpu = cpu_time("self")? - self.client_cpu;
        let redis_cpu = server_cpu_time(self.server)?;
        let redis_cpu = redis_cpu.zip(self.redis_cpu).map(|(after, before)| after - before);
        latencies.sort_unstable();
        Ok(Sample { ops, elapsed, client_cpu, redis_cpu, latencies })
    }
}

fn server_cpu_time(server: Option<ServerProcess>) -> io::Result<Option<Duration>> {
    server.map(|ServerProcess(id)| cpu_time(&id.to_string())).transpose()
}

/// User and system time of all threads of a process, those that have ended included, in steps of 10 ms
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
fn cpu_time(process: &str) -> io::Result<Duration> {
    /// The length of the kernel's tick as it shows it to programs, on every architecture.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program, in parentheses, may hold spaces and more parentheses. The state follows it.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks: Option<u32> = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().ok()).sum();
    ticks.map(|ticks| TICK * ticks).ok_or_else(|| io::Error::other(format!("/proc/{process}/stat is not understood")))
}

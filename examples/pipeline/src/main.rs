//! A pipeline over streams: `readings` in °F → `temperatures` in °C → `alerts`.
//!
//! Both steps are durable: kill the process at any time, start it again, and every reading is still dealt with.

// Programs may print.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod options;
mod screen;
mod shutdown;
mod stage;
mod weather;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use futures_util::{FutureExt, future::try_join_all};
use streamerson::{Client, Consumer, Json, SharedBroker, Topic};
use tokio::time::interval;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    options::{Options, Role},
    shutdown::shutdown_signal,
    stage::Stage,
    weather::{Alert, Reading, alert_if_hot, to_celsius},
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The steps, each a group of its own: start the program twice, and both share the work.
async fn stages(
    broker: &SharedBroker,
    shutdown: impl Future<Output = ()> + Clone + Send + 'static,
) -> Result<(), Error> {
    let stages = [
        Stage { from: "readings", to: "temperatures", group: "converters", step: to_celsius },
        Stage { from: "temperatures", to: "alerts", group: "watchers", step: alert_if_hot },
    ];
    try_join_all(stages.into_iter().map(|stage| stage.run(broker, shutdown.clone()))).await?;
    Ok(())
}

/// The end of the pipeline is a consumer like any other.
async fn alarm(broker: &SharedBroker, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    async fn ring(Json(alert): Json<Alert>) {
        println!("alert: {} is at {:.1} °C", alert.sensor, alert.celsius);
    }
    Consumer::new(Topic::new("alerts")?).on("alert", ring).run(broker.clone(), shutdown).await?;
    Ok(())
}

/// Something to look at: a reading every half second.
async fn sensors(broker: &SharedBroker, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let readings = Client::new(broker.clone()).topic(&Topic::new("readings")?);
    let mut ticks = interval(Duration::from_millis(500));
    let mut shutdown = std::pin::pin!(shutdown);
    for (sensor, fahrenheit) in [("fridge", 39.2), ("room", 71.6), ("oven", 392.0)].into_iter().cycle() {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut shutdown => break,
        }
        readings.emit("reading", &Reading { sensor: sensor.into(), fahrenheit }).await?;
    }
    Ok(())
}

/// Shows what the library has to say: who started and stopped, what is lost and found again; `RUST_LOG=debug` shows more.
fn start_logging() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    logs.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
}

async fn run() -> Result<(), Error> {
    let Options { role, broker } = Options::from_args()?;
    start_logging();
    let broker = streamerson::connect(&broker).await?;
    let shutdown = shutdown_signal()?.boxed().shared();
    let until = || shutdown.clone();
    match role {
        Role::Stages => stages(&broker, until()).await,
        Role::Alarm => alarm(&broker, until()).await,
        Role::Sensors => sensors(&broker, until()).await,
        Role::Screen => screen::run(&broker, until()).await,
        Role::All => {
            let (stages, alarm) = (stages(&broker, until()), alarm(&broker, until()));
            let (sensors, screen) = (sensors(&broker, until()), screen::run(&broker, until()));
            tokio::try_join!(stages, alarm, sensors, screen).map(|_| ())
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

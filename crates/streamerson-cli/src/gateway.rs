//! `streamerson gateway`: HTTP at the edge, as a configuration file says.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use streamerson::core::{BrokerError, Metrics, SharedBroker};
use streamerson::gateway::server::{
    Certificate, Config, InvalidCertificate, InvalidConfig, ListenAddr, Mistake, Overrides, Server, StartError,
};
use streamerson::redis::{RedisBroker, RedisConfig, RedisUrl};
use tracing::{error, info, warn};

use crate::{
    args::Common,
    broker,
    failure::Failure,
    output::{Format, Output},
    shown::printable,
    stop::{HangUps, Stop},
};

/// Run the gateway that a configuration file describes: HTTP requests become messages, replies become responses.
///
/// SIGTERM or Ctrl-C ends it in good order: it is not ready any more, accepts no connection, and finishes what was
/// begun. A second signal ends it at once. SIGHUP reads the certificate of [tls] again. It starts whether or not its brokers can be reached; until they can, requests
/// are answered with 503.
///
/// The broker of topics that name none is --broker, else `broker` in the file, else $STREAMERSON_BROKER.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Gateway {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Where to listen, instead of `listen` in the file; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<ListenAddr>,

    /// Only say whether the configuration is right: exit status 0 or 1, and every mistake with its line
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = r#"Examples:
  streamerson gateway --config gateway.toml --check
  streamerson gateway --config gateway.toml
  streamerson gateway --config gateway.toml --listen 127.0.0.1:0 --broker redis://10.0.0.7:6379

A configuration to begin with:
  listen = "127.0.0.1:8080"
  broker = "redis://127.0.0.1:6379"

  [admin]                      # /healthz, /readyz, /metrics
  listen = "127.0.0.1:9090"

  [[route]]                    # ask: try it with `streamerson echo orders`
  method = "POST"
  path = "/orders/{id}"
  topic = "orders"
  event = "order.update"
  timeout = "2s"

  [[route]]                    # tell: 202 as soon as the broker has it
  method = "POST"
  path = "/views"
  topic = "views"
  event = "page.viewed"
  mode = "emit"

docs/gateway.md describes every key."#;

impl Gateway {
    pub(crate) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.check {
            return self.report(common).await;
        }
        let config = self.read(common)?.map_err(|error| self.invalid(&error))?;
        let stop = Stop::listen()?;
        let hang_ups = HangUps::listen()?;
        let server = Server::bind(config, connect).await.map_err(|error| match error {
            StartError::Connect(failure) => failure,
            StartError::Listen { address, source } => Failure::failed(format!("cannot listen on {address}"))
                .because(source)
                .hint("`--listen 127.0.0.1:0` picks a free port"),
            StartError::Certificate(error) => unusable(&error),
            StartError::Shards(error) => Failure::failed("gateway and consumers do not agree").because(error),
            _ => Failure::failed("the gateway cannot start"),
        })?;
        if let Some(address) = server.admin_address() {
            _ = writeln!(io::stderr(), "admin on http://{address}");
        }
        // Scripts wait for this line, so it comes when all else is ready.
        let scheme = if server.certificate().is_some() { "https" } else { "http" };
        _ = writeln!(io::stderr(), "listening on {scheme}://{}", server.address());
        let reload = reload(server.certificate().cloned(), hang_ups);
        tokio::select! {
            () = server.run(stop.announced()) => Ok(()),
            () = stop.demanded() => Err(Failure::at_once()),
            () = reload => Ok(()),
        }
    }

    fn invalid(&self, error: &InvalidConfig) -> Failure {
        let mistakes = counted(error.mistakes().len(), "mistake");
        let message = format!("{} has {mistakes}:\n{error}", self.config.display());
        match error.names_memory() {
            true => Failure::misused(message).hint("`streamerson demo` has gateway, workers and broker in one process"),
            false => Failure::failed(message),
        }
    }

    fn read(&self, common: &Common) -> Result<Result<Config<RedisUrl>, InvalidConfig>, Failure> {
        let file = self.config.display().to_string();
        let text = fs::read_to_string(&self.config)
            .map_err(|error| Failure::failed(format!("cannot read the configuration {file}")).because(error))?;
        let mut overrides = Overrides::default();
        overrides.listen = self.listen.clone();
        overrides.broker = common.broker.as_deref().map(broker::parse).transpose()?;
        overrides.broker_fallback = env::var(broker::VARIABLE).ok().filter(|url| !url.is_empty());
        Ok(Config::parse(&file, &text, overrides))
    }

    /// Says whether the file is right: for people, unless somebody wants it otherwise.
    async fn report(&self, common: &Common) -> Result<(), Failure> {
        let config = self.read(common)?;
        if common.format() != Some(Format::Json) {
            let config = config.map_err(|error| self.invalid(&error))?;
            config.check_files().await.map_err(|error| unusable(&error))?;
            writeln!(io::stdout(), "{}", printable(&self.summary(&config)))?;
            return Ok(());
        }
        // Made only here, since it keeps the standard output to itself.
        let mut output = Output::new(common);
        let invalid = match config {
            Ok(config) => {
                config.check_files().await.map_err(|error| unusable(&error))?;
                output.json(&Right {
                    file: self.config.display().to_string(),
                    listen: config.listen().as_str(),
                    tls: config.is_tls(),
                    routes: config.routes(),
                    brokers: config.brokers().iter().map(RedisUrl::to_string).collect(),
                })?;
                return output.flush();
            }
            Err(invalid) => invalid,
        };
        for Mistake { file, line, key, what, .. } in invalid.mistakes() {
            output.json(&Wrong { file, line: *line, key, what })?;
        }
        output.flush()?;
        Err(if invalid.names_memory() { self.invalid(&invalid) } else { Failure::Told })
    }

    fn summary(&self, config: &Config<RedisUrl>) -> String {
        let brokers: Vec<_> = config.brokers().iter().map(RedisUrl::to_string).collect();
        let brokers = if brokers.is_empty() { "no broker".to_owned() } else { brokers.join(", ") };
        let routes = counted(config.routes(), "route");
        let tls = if config.is_tls() { " with TLS" } else { "" };
        format!("{} is right: {routes} on {}{tls}, over {brokers}", self.config.display(), config.listen())
    }
}

/// A file that is right, as JSON.
#[derive(Serialize)]
struct Right<'a> {
    file: String,
    listen: &'a str,
    tls: bool,
    routes: usize,
    brokers: Vec<String>,
}

/// A mistake, as JSON.
#[derive(Serialize)]
struct Wrong<'a> {
    file: &'a str,
    line: usize,
    key: &'a str,
    what: &'a str,
}

/// Reads the certificate again whenever the process is told to.
async fn reload(certificate: Option<Certificate>, mut hang_ups: HangUps) {
    loop {
        hang_ups.next().await;
        match &certificate {
            Some(certificate) => match certificate.reload().await {
                Ok(()) => info!("new connections get the certificate as it is in its files now"),
                Err(error) => error!(%error, "the certificate stays as it was"),
            },
            None => info!("there is nothing to read again: without [tls] SIGHUP does nothing"),
        }
    }
}

/// A broker that is away is waited for while the gateway runs; one that refuses the login never comes by itself.
async fn connect(url: &RedisUrl, metrics: &Metrics) -> Result<SharedBroker, Failure> {
    let config = || RedisConfig::new(url.clone()).role("gateway").metrics(metrics);
    match RedisBroker::connect_with(config()).await {
        Ok(broker) => Ok(Arc::new(broker)),
        Err(error @ BrokerError::Config { .. }) => {
            Err(Failure::misused(format!("the broker {url} cannot be used as it is named")).because(error))
        }
        Err(error) => {
            warn!(%error, "the gateway starts without its broker, and answers 503 until it is there");
            Ok(Arc::new(RedisBroker::connect_lazily(config())))
        }
    }
}

/// It names the place in the configuration itself.
fn unusable(error: &InvalidCertificate) -> Failure {
    Failure::failed(error.to_string())
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_help_is_right() {
        let (_, rest) = EXAMPLES.split_once("A configuration to begin with:\n").unwrap();
        let (text, _) = rest.split_once("docs/gateway.md").unwrap();
        let config = Config::<RedisUrl>::parse("help", text, Overrides::default()).unwrap();
        assert_eq!((config.routes(), config.brokers().len()), (2, 1));
    }
}

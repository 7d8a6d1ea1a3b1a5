//! The command line: what every command takes, and the list of commands.

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use streamerson::core::{EventType, InvalidName, Topic, wire::WireFormat};

use crate::{
    bench::Bench, completions::Completions, dead::Dead, demo::Demo, doctor::Doctor, echo::Echo, emit::Emit,
    gateway::Gateway, groups::Groups, man::Man, output::Format, pending::Pending, request::Request,
    scheduled::Scheduled, tail::Tail, topics::Topics,
};

/// HTTP and WebSocket at the edge, every service behind it a function over a Redis Stream.
#[derive(Debug, Parser)]
#[command(name = "streamerson", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = r#"Examples:
  streamerson demo                                 a gateway, workers and a broker in one process
  streamerson echo orders                          a worker that answers everything
  streamerson request orders order.get '{"id":7}'  ask, and print the reply
  streamerson emit orders order.seen '{"id":7}'    tell, and wait for nobody
  streamerson tail orders --from 15m               watch
  streamerson topics                               what waits where
  streamerson groups orders                        who reads, and how far
  streamerson pending orders shipping              what is not finished
  streamerson dead list orders --by-error          what failed for good
  streamerson scheduled list orders                what waits for its time
  streamerson doctor                               what is wrong, and what to do about it
  streamerson bench                                how fast the broker is
  streamerson gateway --config gateway.toml        HTTP in front of it

A topic is NAME, NAMESPACE:NAME or NAMESPACE:NAME#SHARD; --wire js speaks the format of the
TypeScript package.
Exit status: 0 done, 1 failed, 2 misused."#;

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The broker's address: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
    ///
    /// Default: $STREAMERSON_BROKER, else redis://127.0.0.1:6379. The demo alone has a broker of its own.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) broker: Option<String>,

    /// Print one JSON object a line, as is done whenever the output is no terminal
    #[arg(long, global = true, conflicts_with = "human")]
    json: bool,

    /// Print for people, also when the output is no terminal
    #[arg(long, global = true)]
    human: bool,

    /// How logs are written to the standard error; $RUST_LOG says which
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Common {
    /// What the user asked for, if anything: else it depends on who reads.
    pub(crate) fn format(&self) -> Option<Format> {
        match (self.json, self.human) {
            (true, _) => Some(Format::Json),
            (_, true) => Some(Format::Human),
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Emit(Emit),
    Request(Request),
    Tail(Tail),
    Echo(Echo),
    Topics(Topics),
    Groups(Groups),
    Pending(Pending),
    Dead(Dead),
    Scheduled(Scheduled),
    Doctor(Doctor),
    Bench(Bench),
    Gateway(Gateway),
    Completions(Completions),
    Man(Man),
}

impl Command {
    /// What is logged unless `$RUST_LOG` says otherwise: servers tell what they do, other commands what is wrong.
    pub(crate) fn log_default(&self) -> &'static str {
        match self {
            Self::Echo(_) | Self::Gateway(_) => "info",
            // What the demo is about stays readable between the lines of the tour.
            Self::Demo(_) => "warn,streamerson::demo=info",
            Self::Emit(_)
            | Self::Request(_)
            | Self::Tail(_)
            | Self::Topics(_)
            | Self::Groups(_)
            | Self::Pending(_)
            | Self::Dead(_)
            | Self::Scheduled(_)
            | Self::Doctor(_)
            | Self::Bench(_)
            | Self::Completions(_)
            | Self::Man(_) => "warn",
        }
    }
}

/// A topic, and what its entries look like.
#[derive(Debug, Args)]
pub(crate) struct TopicArgs {
    /// Which topic: NAME, NAMESPACE:NAME or NAMESPACE:NAME#SHARD
    topic: Topic,

    #[command(flatten)]
    wire: WireArgs,
}

/// What a topic's entries look like.
#[derive(Debug, Args)]
pub(crate) struct WireArgs {
    /// The format that the topic speaks: v1, or js, that of the TypeScript package @streamerson/core
    #[arg(long, value_name = "FORMAT", default_value = WireFormat::V1.as_str(), value_parser = wire())]
    wire: WireFormat,
}

impl TopicArgs {
    pub(crate) fn topic(&self) -> Topic {
        self.wire.of(&self.topic)
    }
}

impl WireArgs {
    pub(crate) fn of(&self, topic: &Topic) -> Topic {
        topic.with_wire(self.wire)
    }
}

/// Reads the name of a format, and lists them in the help.
fn wire() -> impl TypedValueParser<Value = WireFormat> {
    let formats = [WireFormat::V1, WireFormat::Js].map(WireFormat::as_str);
    PossibleValuesParser::new(formats).try_map(|word| word.parse::<WireFormat>())
}

/// A topic as it is named on the command line.
pub(crate) fn named(topic: &Topic) -> String {
    match topic.wire() {
        WireFormat::Js => format!("{topic} --wire js"),
        _ => topic.to_string(),
    }
}

/// An event type that users may send.
pub(crate) fn event(text: &str) -> Result<EventType, InvalidName> {
    EventType::for_user(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What is longer is broken, wherever the help goes.
    const HELP_CHARS_MAX: usize = 100;

    #[test]
    fn help_that_is_laid_out_fits() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= HELP_CHARS_MAX, "{}: {line}", command.get_name());
            }
            assert!(help.contains("Examples:"), "{} teaches nothing", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}

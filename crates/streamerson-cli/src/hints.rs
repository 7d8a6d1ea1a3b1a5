//! What to do next about errors that users meet.

use std::error::Error;

use streamerson::core::{BrokerError, client::CallError};

/// What to do about an error or its sources, if there is something to say.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<CallError>() {
        of_call(error)
    } else if let Some(error) = error.downcast_ref::<BrokerError>() {
        of_broker(error)
    } else {
        of(error.source()?)
    }
}

fn of_call(error: &CallError) -> Option<String> {
    let hint = match error {
        CallError::Broker(error) => return of_broker(error),
        CallError::NoConsumers => "start a worker, or `streamerson echo TOPIC`, which answers everything",
        CallError::TimedOut(_) => "`--timeout 30s` waits longer; `streamerson tail TOPIC` shows what arrives",
        CallError::Overloaded(_) => "the workers do not keep up: start more of them",
        CallError::TooLarge(_) => "send a reference to what is large, not the thing itself",
        _ => return None,
    };
    Some(hint.into())
}

fn of_broker(error: &BrokerError) -> Option<String> {
    let hint = match error {
        BrokerError::Unavailable { cause, .. } if cause.starts_with("MISCONF") => {
            "the broker cannot write its data to the disk, and so refuses all: look into its log, and at the room on its disk"
        }
        BrokerError::Unavailable { cause, .. } if cause.starts_with("LOADING") => "wait until it has loaded its data",
        BrokerError::Unavailable { .. } => {
            "start a broker with `redis-server` or `docker run --rm -p 6379:6379 redis`,\n      \
             name another one with --broker or $STREAMERSON_BROKER,\n      \
             or try `streamerson demo`, which brings its own"
        }
        BrokerError::Interrupted { .. } => "`streamerson tail TOPIC --from 1m` shows whether it arrived",
        BrokerError::Refused { code, .. } => match &**code {
            "OOM" => "the broker's memory is full: raise its maxmemory, or start workers, so that entries are trimmed",
            "NOPERM" => "this user of the broker lacks a permission: see its ACL",
            "READONLY" => "this is a replica: name the primary with --broker",
            _ => return None,
        },
        _ => return None,
    };
    Some(hint.into())
}

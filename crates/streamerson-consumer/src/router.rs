//! Which handler takes which event type.

use std::collections::HashMap;

use streamerson_core::{EventType, Reply};

use crate::{handler_error::HandlerError, incoming::Incoming, retry::Retry, route::Route};

/// Handlers by event type, and one for the rest.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) routes: HashMap<EventType, Route>,
    pub(crate) fallback: Option<Route>,
    pub(crate) retries: Retries,
}

/// Which policy holds for which event type.
#[derive(Debug)]
pub(crate) struct Retries {
    pub(crate) by_event: HashMap<EventType, Retry>,
    pub(crate) others: Retry,
}

impl Retries {
    pub(crate) fn of(&self, event: &EventType) -> &Retry {
        self.by_event.get(event).unwrap_or(&self.others)
    }
}

impl Router {
    /// Handles a message. A layer's errors are mapped here, once for all layers.
    pub(crate) async fn handle(&self, incoming: Incoming) -> Result<Reply, HandlerError> {
        let route = self.routes.get(&incoming.message().event).or(self.fallback.as_ref());
        let Some(route) = route else { return Err(HandlerError::no_handler()) };
        route.handle(incoming).await.map_err(HandlerError::of_layer)
    }
}

//! Contracts.

/// A request, its event type, and the one reply that answers it: what ties a sender to a handler.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamerson_core::client::Call;
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet {
///     name: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Greeting {
///     text: String,
/// }
///
/// impl Call for Greet {
///     const TOPIC: &'static str = "greetings";
///     const EVENT: &'static str = "greet";
///     type Reply = Greeting;
/// }
/// ```
pub trait Call: Send + 'static {
    /// The topic that the request goes to, as [`Topic::new`](crate::Topic::new) parses it.
    const TOPIC: &'static str;
    /// The event type of the request.
    const EVENT: &'static str;
    /// What answers it.
    type Reply: Send + 'static;
}

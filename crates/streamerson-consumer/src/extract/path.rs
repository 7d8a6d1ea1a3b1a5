//! Parameters of HTTP routes.

use serde::de::DeserializeOwned;
use streamerson_core::Headers;

use super::{FromMessage, OptionalFromMessage, params::Params};
use crate::{Incoming, rejection::InvalidPath};

/// The parameters in the path of the HTTP request that became this message, as the gateway's route names them.
///
/// A single one may be taken as it is, several as a tuple in the order of the route, and any number as a struct or map
/// by their names. `Option<Path<T>>` is `None` when there are none.
///
/// ```
/// use serde::Deserialize;
/// use streamerson_consumer::extract::Path;
///
/// async fn order(Path(id): Path<u64>) {}
///
/// #[derive(Deserialize)]
/// struct Line {
///     order: u64,
///     line: u32,
/// }
///
/// async fn line(Path(line): Path<Line>) {}
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Path<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromMessage<S> for Path<T> {
    type Rejection = InvalidPath;

    async fn from_message(incoming: &Incoming, _: &S) -> Result<Self, InvalidPath> {
        let params = incoming.message().headers.with_prefix(Headers::HTTP_PARAM_PREFIX).collect();
        T::deserialize(Params::new(params)).map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> OptionalFromMessage<S> for Path<T> {
    type Rejection = InvalidPath;

    async fn from_message(incoming: &Incoming, state: &S) -> Result<Option<Self>, InvalidPath> {
        if incoming.message().headers.with_prefix(Headers::HTTP_PARAM_PREFIX).next().is_none() {
            return Ok(None);
        }
        <Self as FromMessage<S>>::from_message(incoming, state).await.map(Some)
    }
}

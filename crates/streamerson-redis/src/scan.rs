//! Which streams there are.

use streamerson_core::{
    StreamKey,
    broker::{BrokerError, StreamPage},
};

use crate::{
    error::{refused, unexpected},
    reply::{array, as_text, is_denial},
    resp::Reply,
    shared::Shared,
};

/// About what the command takes on the wire, in bytes.
const SCAN_BYTES: usize = 128;

/// How many keys the server looks at for one page: few enough that nobody else has to wait for it.
const KEYS_LOOKED_AT: u64 = 1000;

/// `:in`, `:out` and `:dead` of any topic, `::CONSUMER_INCOMING` and `::PRODUCER_OUTGOING` of one in the original's format,
/// and hardly any inbox, of which there may be many. There is no "or" in a pattern.
const PATTERN: &str = "*:[iodCP]*[ntdG]";

/// See [`Broker::streams`](streamerson_core::Broker::streams).
pub(crate) async fn streams(shared: &Shared, page: u64) -> Result<StreamPage, BrokerError> {
    let ask = shared.call_one(SCAN_BYTES, |batch| {
        let mut command = batch.command(8);
        command.arg("SCAN").int(page).arg("MATCH").arg(PATTERN);
        command.arg("COUNT").int(KEYS_LOOKED_AT).arg("TYPE").arg("stream");
    });
    let parts = match ask.await? {
        Reply::Error(message) if is_denial(&message) => return Err(denied(&message)),
        Reply::Error(message) => return Err(refused(&message)),
        reply => array("SCAN", reply)?,
    };
    let mut parts = parts.into_iter();
    let next = parts.next().as_ref().and_then(as_text).and_then(|next| next.parse().ok());
    let (Some(next), Some(found)) = (next, parts.next()) else { return Err(unexpected("SCAN", &Reply::Nil)) };
    let keys = array("SCAN", found)?
        .iter()
        .filter_map(as_text)
        .map(|text| StreamKey::raw(text.to_owned()))
        // The pattern is coarse: keys of other programs may have its shape.
        .filter(|key| key.topic().is_some() && !key.is_inbox())
        .collect();
    Ok(StreamPage { keys, next: (next != 0).then_some(next) })
}

/// Servers say it in words of their own versions, and none says what it is needed for.
fn denied(message: &[u8]) -> BrokerError {
    let text = String::from_utf8_lossy(message);
    let cause = text.split_once(' ').map_or(&*text, |(_, cause)| cause).trim_end();
    BrokerError::Refused { code: "NOPERM".into(), message: format!("{cause} (SCAN, which finds streams)").into() }
}

//! What flows through the pipeline, and what each step makes of it.

use serde::{Deserialize, Serialize};
use streamerson::Message;

use crate::Error;

/// From here on it is hot, in °C.
const HOT: f64 = 100.0;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) sensor: String,
    pub(crate) fahrenheit: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Temperature {
    pub(crate) sensor: String,
    pub(crate) celsius: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alert {
    pub(crate) sensor: String,
    pub(crate) celsius: f64,
}

/// Every reading becomes a temperature.
pub(crate) fn to_celsius(message: &Message) -> Result<Option<Message>, Error> {
    let Reading { sensor, fahrenheit } = serde_json::from_slice(&message.payload)?;
    let celsius = (fahrenheit - 32.0) / 1.8;
    Ok(Some(Message::json("temperature", &Temperature { sensor, celsius })?))
}

/// Few temperatures become an alert.
pub(crate) fn alert_if_hot(message: &Message) -> Result<Option<Message>, Error> {
    let Temperature { sensor, celsius } = serde_json::from_slice(&message.payload)?;
    if celsius < HOT {
        return Ok(None);
    }
    Ok(Some(Message::json("alert", &Alert { sensor, celsius })?))
}

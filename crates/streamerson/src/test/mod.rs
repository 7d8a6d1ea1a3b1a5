//! Tests of consumers: over an embedded broker, on a clock that stands still until everybody waits, and with everything
//! that goes wrong in production.
//!
//! A [`TestBed`] runs a consumer, asks it, and tells what became of each message. Under tokio's paused clock
//! (`#[tokio::test(start_paused = true)]`) pauses, timeouts, leases and schedules of months take no time.
//!
//! ```
//! use std::time::Duration;
//!
//! use streamerson::{
//!     Consumer, Json, Topic,
//!     consumer::{Failure, Retry},
//!     test::TestBed,
//! };
//!
//! # fn orders() -> Topic { Topic::new("orders").unwrap() }
//! async fn ship(Json(order): Json<u64>) -> Result<Json<String>, Failure> {
//!     if order == 0 { Err(Failure::new("there is no such order")) } else { Ok(Json(format!("order {order} is shipped"))) }
//! }
//!
//! fn shipping() -> Consumer {
//!     Consumer::new(orders()).on("order.paid", ship).retry(Retry::attempts(5))
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let bed = TestBed::new(shipping);
//! let reply = bed.request("order.paid", &7).await;
//! assert_eq!(reply.payload, "\"order 7 is shipped\"");
//!
//! bed.emit("order.paid", &0).await;
//! bed.settled().await;
//! let [dead] = &bed.dead_letters().await[..] else { panic!("one dead letter") };
//! assert_eq!(dead.letter.as_ref().unwrap().attempts, 5);
//! # }
//! ```
//!
//! # What goes wrong
//!
//! [`TestBed::crash`] is the death of a process, and [`TestBed::start`] another one; [`TestBed::outage`] takes the broker
//! away. With [`Faults`] each answer takes its time, and some questions and answers are lost on the way. [`explore`] does
//! that for thousands of seeds, each of which makes another order of events, and says which one fails:
//!
//! ```
//! use std::time::Duration;
//!
//! use streamerson::{
//!     Consumer, Topic,
//!     test::{Faults, TestBed, explore},
//! };
//!
//! # fn orders() -> Topic { Topic::new("orders").unwrap() }
//! explore(20, async |seed| {
//!     let bed = TestBed::with_faults(Faults::of(&seed), || Consumer::new(orders()).on("order.paid", async || ()));
//!     let second = bed.start();
//!     for order in 0..10 {
//!         bed.emit("order.paid", &order).await;
//!     }
//!     bed.crash(second);
//!     bed.outage(Duration::from_secs(seed.below(10))).await;
//!     bed.settled().await;
//!     assert_eq!(bed.outcomes().len(), 10, "each has come to one end");
//! });
//! ```
//!
//! The same seed makes the same order of events, as far as the code under test does: it must not read the real clock, use
//! threads of its own, or depend on the order in a `HashMap`.

mod bed;
mod explore;
mod faults;
mod link;
mod record;

pub use self::{
    bed::{Ended, MemberNumber, TestBed},
    explore::{Seed, explore, explore_seeds},
    faults::Faults,
};

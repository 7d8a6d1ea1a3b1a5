//! `streamerson topics --watch`: the same again and again, with rates.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use serde::Serialize;
use streamerson::core::{BrokerError, SharedBroker, Topic, UnixMillis};
use tokio::time::MissedTickBehavior;

use super::{
    Row, cannot_list, find, look,
    rates::{Counters, Rates},
};
use crate::{
    args::Common,
    broker, duration,
    failure::{Failure, causes},
    human,
    output::{Format, Output, reader_gone},
    screen::Screen,
    stop::Stop,
    table::{Cell, Table},
};

/// Topics are looked for again after so many times as long as that took, since the broker walks all its keys for it; and
/// after the longest interval, however long it took.
const SEARCH_SHARE: u32 = 100;
const SEARCH_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What to do, and how long.
pub(super) struct Watch {
    pub(super) every: Duration,
    pub(super) count: Option<NonZeroU64>,
}

#[derive(Serialize)]
struct Tick<'a> {
    at: UnixMillis,
    topics: &'a [Watched],
}

#[derive(Serialize)]
struct Watched {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    rates: Rates,
}

/// What is known from the looks before.
#[derive(Default)]
struct Memory {
    topics: BTreeSet<Topic>,
    /// When topics are looked for again.
    search: Option<Instant>,
    counters: HashMap<String, (Instant, Counters)>,
}

impl Watch {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let stop = Stop::listen()?;
        let broker = broker::connect(common).await?;
        let mut screen = Screen::new(Output::new(common))?;
        let ended = tokio::select! {
            biased;
            () = stop.requested() => Ok(()),
            () = reader_gone() => Err(Failure::BrokenPipe),
            result = self.show(&broker, &mut screen) => result,
        };
        screen.end()?;
        ended
    }

    async fn show(&self, broker: &SharedBroker, screen: &mut Screen) -> Result<(), Failure> {
        let mut memory = Memory::default();
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = self.count.map_or(u64::MAX, NonZeroU64::get);
        let mut is_away = false;
        while left > 0 {
            ticks.tick().await;
            match memory.look(broker).await {
                Ok(rows) => {
                    is_away = false;
                    self.tell(broker, &rows, screen)?;
                }
                // It comes back, or it is waited for; that is said once.
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut is_away, true) {
                        screen.complain(&causes(&error))?;
                    }
                }
                Err(error) => return Err(cannot_list(error)),
            }
            left -= 1;
        }
        Ok(())
    }

    fn tell(&self, broker: &SharedBroker, rows: &[Watched], screen: &mut Screen) -> Result<(), Failure> {
        if screen.output.format == Format::Json {
            screen.output.json(&Tick { at: broker.now(), topics: rows })?;
            return screen.output.flush();
        }
        let topics = human::counted(rows.len() as u64, "topic", "topics");
        let title = format!("{topics}, every {}; Ctrl-C ends it", duration::show(self.every));
        screen.show(&title, &table(rows).lines(screen.output.style))
    }
}

impl Memory {
    async fn look(&mut self, broker: &SharedBroker) -> Result<Vec<Watched>, BrokerError> {
        if self.search.is_none_or(|search| search <= Instant::now()) {
            let begun = Instant::now();
            self.topics = find(broker).await?;
            let ended = Instant::now();
            self.search = Some(ended + ((ended - begun) * SEARCH_SHARE).min(SEARCH_INTERVAL_MAX));
        }
        let rows = look(broker, &self.topics).await?;
        let now = Instant::now();
        let mut counters = HashMap::with_capacity(rows.len());
        let watched = rows.into_iter().map(|row| {
            let earlier = self.counters.get(&row.named);
            let rates = earlier.map(|(then, earlier)| row.counters.since(earlier, now - *then));
            counters.insert(row.named.clone(), (now, row.counters.clone()));
            Watched { row, rates: rates.unwrap_or_default() }
        });
        let watched = watched.collect();
        self.counters = counters;
        Ok(watched)
    }
}

fn table(rows: &[Watched]) -> Table<9> {
    let mut table = Table::new(["TOPIC", "IN/S", "DONE/S", "OUT/S", "IN", "PENDING", "LAG", "DEAD", "OLDEST"]);
    let rate = |rate: Option<f64>| match rate.map(human::rate) {
        Some(rate) if rate == "0" => Cell::text(rate).dim().right(),
        Some(rate) => Cell::text(rate).right(),
        None => Cell::none().right(),
    };
    for Watched { row, rates } in rows {
        table.row([
            Cell::text(&row.named).bold(),
            rate(rates.came),
            rate(rates.done),
            rate(rates.out),
            Cell::count(row.r#in),
            Cell::count(row.pending),
            row.lag_cell(),
            Cell::count(row.dead).red_if(row.dead > 0),
            row.oldest_cell(),
        ]);
    }
    table
}

//! What a scenario found: one JSON object, and rows of a table.

use super::median;
use super::server::Kind;
use super::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write;

/// The result of one scenario, or of one case of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// What of it: counts and sizes.
    pub case: String,
    /// Figures against the floor, with the bar where there is one.
    pub figures: Vec<Figure>,
    /// What has to hold on any machine.
    pub invariants: Vec<Invariant>,
    /// Everything that was measured, round by round.
    pub rounds: Vec<Value>,
}

/// Medians of one figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// In which unit.
    pub unit: String,
    /// The floor's median, if the floor can do it.
    pub floor: Option<f64>,
    /// The relay's median.
    pub relay: f64,
    /// Relay over floor.
    pub ratio: Option<f64>,
    /// The same for each round: how much to believe it.
    pub ratios: Vec<f64>,
    /// What the ratio should not exceed.
    pub bar: Option<f64>,
    /// Whether it does not. Reported, never a failure.
    pub holds: Option<bool>,
}

/// Something that has to hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invariant {
    /// What.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// Whether it holds. If not, the load client fails.
    pub holds: bool,
}

/// One server in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Which server.
    pub server: Kind,
    /// The figure, before medians are taken.
    pub figures: Vec<(&'static str, f64)>,
    /// What it cost before the load.
    pub before: Usage,
    /// What it cost with it.
    pub after: Usage,
}

impl Report {
    /// An empty one.
    pub fn new(scenario: &str, case: impl Into<String>) -> Self {
        let (scenario, case) = (scenario.to_owned(), case.into());
        Self { scenario, case, figures: Vec::new(), invariants: Vec::new(), rounds: Vec::new() }
    }

    /// Adds what has to hold.
    pub fn invariant(&mut self, what: &str, holds: bool, seen: impl Into<String>) {
        self.invariants.push(Invariant { what: what.to_owned(), seen: seen.into(), holds });
    }

    /// Adds what has to hold each time; the first time that it does not stays.
    pub fn invariant_once(&mut self, what: &str, holds: bool, seen: &str) {
        match self.invariants.iter_mut().find(|invariant| invariant.what == what) {
            None => self.invariant(what, holds, seen),
            Some(invariant) if invariant.holds && !holds => {
                invariant.holds = false;
                invariant.seen = seen.to_owned();
            }
            Some(_) => {}
        }
    }

    /// Adds a figure that only the relay has.
    pub fn figure(&mut self, what: &str, unit: &str, relay: f64) {
        let (what, unit) = (what.to_owned(), unit.to_owned());
        self.figures.push(Figure {
            what,
            unit,
            floor: None,
            relay,
            ratio: None,
            ratios: vec![],
            bar: None,
            holds: None,
        });
    }

    /// Adds the medians of a figure that each sample has under this name.
    pub fn compare(&mut self, samples: &[Sample], what: &'static str, unit: &str, bar: Option<f64>) {
        let values = |kind: Kind| -> Vec<f64> {
            let own = samples.iter().filter(|sample| sample.server == kind);
            own.flat_map(|sample| &sample.figures).filter(|(name, _)| *name == what).map(|(_, value)| *value).collect()
        };
        let (floor, relay) = (values(Kind::Floor), values(Kind::Relay));
        // Of what is too short for the kernel's clock there is no ratio.
        let ratio = |(relay, floor): (&f64, &f64)| Some(relay / floor).filter(|ratio| ratio.is_finite());
        let ratios = relay.iter().zip(&floor).filter_map(ratio).collect();
        let (floor, relay) = (median(floor), median(relay));
        let ratio = ratio((&relay, &floor));
        self.figures.push(Figure {
            what: what.to_owned(),
            unit: unit.to_owned(),
            floor: Some(floor),
            relay,
            ratio,
            ratios,
            bar,
            holds: bar.zip(ratio).map(|(bar, ratio)| ratio <= bar),
        });
    }

    /// Keeps what was measured in the rounds.
    pub fn keep(&mut self, samples: &[Sample]) {
        self.rounds.extend(samples.iter().filter_map(|sample| serde_json::to_value(sample).ok()));
    }

    /// Whether every invariant holds.
    pub fn holds(&self) -> bool {
        self.invariants.iter().all(|invariant| invariant.holds)
    }
}

/// Reports as two tables in Markdown: figures, then invariants.
pub fn tables(reports: &[Report]) -> String {
    let mut text = String::from(
        "| scenario | what | floor | relay | ratio | rounds | bar | |\n|---|---|---|---|---|---|---|---|\n",
    );
    for report in reports {
        for figure in &report.figures {
            let Figure { what, unit, relay, .. } = figure;
            let floor = figure.floor.map_or(String::new(), |floor| format!("{} {unit}", short(floor)));
            let ratio = figure.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let (low, high) =
                (figure.ratios.iter().copied().reduce(f64::min), figure.ratios.iter().copied().reduce(f64::max));
            let spread = low.zip(high).map_or(String::new(), |(low, high)| format!("{low:.2} to {high:.2}"));
            let bar = figure.bar.map_or(String::new(), |bar| bar.to_string());
            let holds = figure.holds.map_or("", |holds| if holds { "holds" } else { "**missed**" });
            let name = name(report);
            let _ = writeln!(
                text,
                "| {name} | {what} | {floor} | {} {unit} | {ratio} | {spread} | {bar} | {holds} |",
                short(*relay)
            );
        }
    }
    text.push_str("\n| scenario | what has to hold | seen | |\n|---|---|---|---|\n");
    for report in reports {
        for Invariant { what, seen, holds } in &report.invariants {
            let holds = if *holds { "holds" } else { "**broken**" };
            let _ = writeln!(text, "| {} | {what} | {seen} | {holds} |", name(report));
        }
    }
    text
}

fn name(report: &Report) -> String {
    if report.case.is_empty() {
        format!("`{}`", report.scenario)
    } else {
        format!("`{}`, {}", report.scenario, report.case)
    }
}

/// Three significant figures at least.
fn short(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Sample, tables};
    use crate::load::server::Kind;
    use crate::load::usage::Usage;

    fn sample(server: Kind, value: f64) -> Sample {
        let usage = Usage { cpu_ms: 0.0, rss_kib: 0.0, pss_kib: 0.0, descriptors: 0 };
        Sample { server, figures: vec![("cost", value)], before: usage, after: usage }
    }

    #[test]
    fn a_figure_is_the_ratio_of_the_medians() {
        let rounds = [(1.0, 1.2), (2.0, 9.0), (1.0, 1.4)];
        let samples: Vec<Sample> = rounds
            .into_iter()
            .flat_map(|(floor, relay)| [sample(Kind::Relay, relay), sample(Kind::Floor, floor)])
            .collect();
        let mut report = Report::new("s", "");
        report.compare(&samples, "cost", "ms", Some(1.4));
        report.compare(&samples, "cost", "ms", Some(1.3));
        let [held, missed] = &report.figures[..] else { panic!("{report:?}") };
        assert_eq!((held.floor, held.relay, held.ratio), (Some(1.0), 1.4, Some(1.4)));
        assert_eq!(held.ratios, [1.2, 4.5, 1.4]);
        assert_eq!((held.holds, missed.holds), (Some(true), Some(false)));
        assert!(report.holds(), "a missed bar is reported, not a failure");
    }

    #[test]
    fn a_broken_invariant_is_a_failure_and_stands_out() {
        let mut report = Report::new("s", "case");
        report.invariant("one", true, "yes");
        assert!(report.holds());
        report.invariant("two", false, "no");
        assert!(!report.holds());
        assert!(tables(&[report]).contains("| `s`, case | two | no | **broken** |"));
    }

    #[test]
    fn an_invariant_of_every_round_is_broken_by_one() {
        let mut report = Report::new("s", "");
        report.invariant_once("each", true, "yes");
        report.invariant_once("each", false, "no");
        report.invariant_once("each", true, "yes");
        assert_eq!((report.invariants.len(), report.holds()), (1, false));
        assert_eq!(report.invariants[0].seen, "no");
    }
}

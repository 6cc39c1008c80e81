//! A life as a picture: what was valid, what was used, what worked.

use super::life::{Light, Report};
use super::{Fate, weather::Weather};
use std::fmt::Write;

const LEFT: i64 = 150;
const WIDTH: i64 = 1_200;
const ROW: i64 = 26;

/// One thing that works or does not on a day.
type LightOf = fn(&super::Day) -> Light;

struct Picture {
    out: String,
    days: i64,
    row: i64,
}

impl Picture {
    fn x(&self, day: i64) -> f64 {
        LEFT as f64 + day.clamp(0, self.days) as f64 * WIDTH as f64 / self.days as f64
    }

    fn bar(&mut self, from: i64, to: i64, colour: &str, height: i64) {
        let (left, right) = (self.x(from), self.x(to));
        let top = self.row * ROW + 40 + (ROW - height) / 2;
        // writing to a string cannot fail
        let _ = write!(
            self.out,
            "<rect x=\"{left:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{height}\" fill=\"{colour}\"/>",
            (right - left).max(0.6)
        );
    }

    fn label(&mut self, text: &str) {
        let y = self.row * ROW + 40 + ROW / 2 + 4;
        let _ = write!(
            self.out,
            "<text x=\"8\" y=\"{y}\">{}</text>",
            base::xml::escape(text)
        );
    }

    fn next(&mut self) {
        self.row += 1;
    }

    /// Runs of days with the same value as bars.
    fn runs<T: PartialEq + Copy>(
        &mut self,
        values: impl Iterator<Item = T>,
        colour: impl Fn(T) -> Option<&'static str>,
        height: i64,
    ) {
        let mut run: Option<(i64, T)> = None;
        let mut last = 0;
        for (day, value) in (0..).zip(values) {
            last = day;
            match run {
                Some((_, before)) if before == value => {}
                _ => {
                    if let Some((begin, before)) = run
                        && let Some(colour) = colour(before)
                    {
                        self.bar(begin, day, colour, height);
                    }
                    run = Some((day, value));
                }
            }
        }
        if let Some((begin, before)) = run
            && let Some(colour) = colour(before)
        {
            self.bar(begin, last + 1, colour, height);
        }
    }
}

/// The picture of a life.
pub fn picture(report: &Report, fate: &Fate) -> String {
    let days = report.days.len().max(1) as i64;
    let mut picture = Picture {
        out: String::new(),
        days,
        row: 0,
    };
    for (number, (from, to)) in report.spans.iter().enumerate() {
        picture.label(&format!("Zertifikate {number}"));
        picture.bar(*from, *to, "#cfd8e3", 14);
        let used = report
            .days
            .iter()
            .map(|day| day.generation == u32::try_from(number).ok());
        picture.runs(used, |used| used.then_some("#2b6cb0"), 14);
        picture.next();
    }
    for (number, (from, to)) in report.smbs.iter().enumerate() {
        picture.label(&format!("SMC-B {}", number + 1));
        picture.bar(*from, *to, "#d6c7e8", 10);
        picture.next();
    }
    picture.label("Störungen");
    if fate.faults {
        let weather = Weather::new(fate.seed, days);
        for (from, to) in weather.windows.values().flatten() {
            picture.bar(*from, *to + 1, "#f0a35e", 10);
        }
    }
    picture.next();
    let lights: [(&str, LightOf); 4] = [
        ("Tunnel", |day| day.tunnel),
        ("Karten lesen", |day| day.reading),
        ("Stapelsignatur", |day| day.batch),
        ("Praxissoftware", |day| day.clients),
    ];
    for (name, light) in lights {
        picture.label(name);
        let colour = |light| {
            Some(match light {
                Light::Good => "#68b984",
                Light::Excused => "#e2e2e2",
                Light::Dark => "#d64545",
            })
        };
        picture.runs(report.days.iter().map(light), colour, 14);
        picture.next();
    }
    let height = picture.row * ROW + 60;
    let mut years = String::new();
    for year in 0..=days / 365 {
        let x = picture.x(year * 365);
        let _ = write!(
            years,
            "<line x1=\"{x:.1}\" y1=\"34\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#999\" stroke-width=\"0.5\"/>\
             <text x=\"{x:.1}\" y=\"28\" text-anchor=\"middle\">{}</text>",
            height - 16,
            2026 + year
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"8\" y=\"14\">gSMC-K {}, Saat {}, \
         {:?}: hell = gültig, dunkel = für den Tunnel benutzt; grün = geht, grau = wird nicht erwartet, rot = fehlt</text>\
         {years}{}</svg>\n",
        LEFT + WIDTH + 30,
        fate.card,
        fate.seed,
        fate.rule,
        picture.out
    )
}

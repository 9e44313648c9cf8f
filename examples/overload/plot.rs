//! Two runs over time, as SVG: one panel for each thing that is measured.

use std::fmt::Write as _;

use crate::Sample;

const WIDTH: f64 = 760.0;
const PANEL: f64 = 120.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const GAP: f64 = 44.0;

/// The two runs: name and colour.
const RUNS: [(&str, &str); 2] = [("with back-pressure", "#1f6fb2"), ("without", "#d1603d")];

/// A title, whether the axis is logarithmic, and what it shows of a batch.
type Panel = (&'static str, bool, fn(&Sample) -> f64);

const PANELS: [Panel; 4] = [
    ("records in a batch", true, |sample| sample.records as f64),
    ("delay of a batch, waiting and processing, in ms; grey: the batch interval", true, |sample| {
        sample.scheduling + sample.processing
    }),
    ("records that have come in and are not processed", false, |sample| sample.backlog as f64),
    ("memory of the process in MiB", false, |sample| sample.resident),
];

/// Draws both runs; the batch interval, in milliseconds, is a line among the delays.
pub(crate) fn svg(with: &[Sample], without: &[Sample], interval: f64) -> String {
    let runs = [with, without];
    let all = || runs.iter().copied().flatten();
    let end = all().map(|sample| sample.seconds).fold(1.0, f64::max);
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - 20.0);
    let height = TOP + PANELS.len() as f64 * (PANEL + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#444\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (n, (name, colour)) in RUNS.into_iter().enumerate() {
        let at = LEFT + 170.0 * n as f64;
        line(&mut out, &[(at, 14.0), (at + 24.0, 14.0)], colour, 2.0);
        text(&mut out, at + 30.0, 18.0, "start", name);
    }
    for (n, (title, is_log, value)) in PANELS.into_iter().enumerate() {
        let top = TOP + n as f64 * (PANEL + GAP) + 14.0;
        let bottom = top + PANEL;
        let most = all().map(value).fold(1.0, f64::max);
        let ticks: Vec<f64> = if is_log {
            (1..=most.log10().ceil().max(2.0) as i32).map(|power| 10_f64.powi(power)).collect()
        } else {
            [0.0, 0.5, 1.0].map(|part| part * round_up(most)).into()
        };
        let place = |value: f64| if is_log { value.max(ticks[0]).log10() } else { value };
        let (low, high) = (place(ticks[0]), place(ticks[ticks.len() - 1]));
        let y = |value: f64| bottom - (place(value) - low) / (high - low) * PANEL;
        text(&mut out, LEFT, top - 6.0, "start", title);
        for &tick in &ticks {
            line(&mut out, &[(LEFT, y(tick)), (x(end), y(tick))], "#ddd", 1.0);
            text(&mut out, LEFT - 6.0, y(tick) + 4.0, "end", &format!("{tick}"));
        }
        if n == 1 {
            line(&mut out, &[(LEFT, y(interval)), (x(end), y(interval))], "#888", 1.0);
        }
        for (samples, (_, colour)) in runs.into_iter().zip(RUNS) {
            let points: Vec<_> = samples.iter().map(|sample| (x(sample.seconds), y(value(sample)))).collect();
            line(&mut out, &points, colour, 1.5);
        }
        let step = round_up(end / 8.0);
        for second in (0..).map(|n| f64::from(n) * step).take_while(|second| *second <= end) {
            text(&mut out, x(second), bottom + 15.0, "middle", &format!("{second} s"));
        }
    }
    out + "</svg>\n"
}

fn line(out: &mut String, points: &[(f64, f64)], colour: &str, width: f64) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let points = points.join(" ");
    let _ = writeln!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// The next of 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, ...
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value)
        .unwrap_or(value)
}

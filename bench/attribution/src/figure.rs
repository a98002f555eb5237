//! Predicted against true effect of whole subsets: our design beside DataInf.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::judge::additive;
use crate::measured::{Measured, OURS};
use crate::statistics::pearson;

const METHODS: [&str; 2] = [OURS, "DataInf"];
/// Side of a panel, its margin, and most points in it.
const SIDE: f64 = 260.0;
const MARGIN: f64 = 46.0;
const POINTS_MAX: usize = 1500;
/// The axes end at this quantile of the magnitudes, so that a few points do not decide the scale.
const QUANTILE: f64 = 0.99;

/// An SVG with one row of panels per task.
pub(crate) fn draw(all: &BTreeMap<String, Vec<Measured>>) -> String {
    let rows: Vec<(&String, &Vec<Measured>)> = all.iter().filter(|(_, m)| has_both(m)).collect();
    let width = METHODS.len() as f64 * (SIDE + MARGIN) + MARGIN;
    let height = rows.len() as f64 * (SIDE + 1.6 * MARGIN) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"11\">\n<title>Predicted and true effect of held-out subsets</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (r, (task, measured)) in rows.iter().enumerate() {
        for (c, method) in METHODS.iter().enumerate() {
            let x = MARGIN + c as f64 * (SIDE + MARGIN);
            let y = MARGIN + r as f64 * (SIDE + 1.6 * MARGIN);
            panel(&mut svg, (x, y), &format!("{task}: {method}"), &points(measured, method));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn has_both(measured: &[Measured]) -> bool {
    METHODS.iter().all(|name| measured.iter().any(|m| m.methods.iter().any(|x| x.name == *name)))
}

/// True and predicted effect of held-out subsets, both as differences from the question's mean; the
/// prediction times the one factor that fits the panel best, since scores of DataInf have no unit.
fn points(measured: &[Measured], method: &str) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for measured in measured {
        let Some(method) = measured.methods.iter().find(|m| m.name == method) else { continue };
        let values: BTreeMap<u64, &Vec<f64>> =
            measured.runs.iter().map(|(mask, values)| (*mask, values)).collect();
        for (q, scores) in method.scores.iter().enumerate() {
            let truth = centred(measured.held_out.iter().map(|mask| values[mask][q]).collect());
            let predicted =
                centred(measured.held_out.iter().map(|mask| additive(scores, *mask)).collect());
            points.extend(truth.into_iter().zip(predicted));
        }
    }
    let (both, own) =
        points.iter().fold((0.0, 0.0), |(both, own), (t, p)| (both + t * p, own + p * p));
    let factor = if own > 0.0 { both / own } else { 0.0 };
    points.into_iter().map(|(t, p)| (t, p * factor)).collect()
}

fn centred(values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.into_iter().map(|v| v - mean).collect()
}

fn panel(svg: &mut String, (x, y): (f64, f64), title: &str, points: &[(f64, f64)]) {
    let mut sizes: Vec<f64> = points.iter().map(|(t, _)| t.abs()).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    let last = (sizes.len() as f64 * QUANTILE) as usize;
    let reach =
        sizes.get(last.min(sizes.len().saturating_sub(1))).copied().unwrap_or(1.0).max(1e-9);
    let at = |v: f64| SIDE * (0.5 + 0.5 * (v / reach).clamp(-1.0, 1.0));
    let (true_effects, predicted): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let r = pearson(&true_effects, &predicted).unwrap_or(0.0);
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<g transform=\"translate({x:.0} {y:.0})\"><text x=\"0\" y=\"-8\">{title}, r = {r:.2}</text><rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#999\"/><path d=\"M0 {SIDE} L{SIDE} 0\" stroke=\"#ccc\"/><g fill=\"#1f5fa8\" fill-opacity=\"0.35\">"
    );
    for (t, p) in points.iter().step_by(points.len().div_ceil(POINTS_MAX).max(1)) {
        let _ = write!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.6\"/>", at(*p), SIDE - at(*t));
    }
    let middle = SIDE / 2.0;
    let _ = writeln!(
        svg,
        "</g><text x=\"{middle}\" y=\"{:.0}\" text-anchor=\"middle\">predicted, ±{reach:.1} nat</text><text transform=\"translate(-8 {middle}) rotate(-90)\" text-anchor=\"middle\">true, ±{reach:.1} nat</text></g>",
        SIDE + 16.0
    );
}

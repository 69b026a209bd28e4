//! Draws the figures as a chart with one panel for each metric and one bar for each subject.

use plotters::prelude::*;

use crate::{Column, Figures, Result, median};

const PANELS: [(&str, &str, Column); 5] = [
    ("Cold start: process start to first 200", "ms", |figures| median(&figures.cold)),
    ("First delivery after init, at the CPU share of 128 MB", "ms", |figures| median(&figures.shared_first)),
    ("CPU time of a warm delivery", "ms", |figures| figures.cpu),
    ("Peak memory after 10,000 deliveries", "MB", |figures| figures.rss_many),
    ("Binary, zipped", "MB", |figures| figures.zipped),
];

const WIDTH: i32 = 900;
const MARGIN: i32 = 20;
const LABELS: i32 = 320;
const VALUES: i32 = 80;
const TITLE: i32 = 32;
const BAR: i32 = 22;
const OURS: RGBColor = RGBColor(0xc2, 0x41, 0x0c);
const OTHERS: RGBColor = RGBColor(0x94, 0xa3, 0xb8);
const INK: RGBColor = RGBColor(0x1e, 0x29, 0x3b);

/// Draws the chart and writes it to an SVG file at this path.
pub fn draw(path: &str, machine: &str, names: &[&str], figures: &[Figures]) -> Result<()> {
    let panels: Vec<_> = PANELS
        .iter()
        .map(|(title, unit, column)| (title, unit, figures.iter().map(column).collect::<Vec<_>>()))
        .filter(|(_, _, values)| values.iter().all(|value| value.is_finite()))
        .collect();
    let rows = i32::try_from(names.len())?;
    let height = MARGIN * 2 + TITLE + i32::try_from(panels.len())? * (TITLE + rows * BAR + MARGIN);
    let root = SVGBackend::new(path, (WIDTH.try_into()?, height.try_into()?)).into_drawing_area();
    root.fill(&WHITE)?;

    let text =
        |text: String, size: i32, at: (i32, i32)| Text::new(text, at, ("sans-serif", size).into_font().color(&INK));
    let mut top = MARGIN;
    for (title, unit, values) in panels {
        root.draw(&text((*title).to_owned(), 21, (MARGIN, top)))?;
        top += TITLE;
        let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (name, value) in names.iter().zip(values) {
            let colour = if name.starts_with("function") { OURS } else { OTHERS };
            #[allow(clippy::cast_possible_truncation, reason = "the length is at most the width of the chart")]
            let length = (f64::from(WIDTH - 2 * MARGIN - LABELS - VALUES) * value / largest).round().max(1.0) as i32;
            let left = MARGIN + LABELS;
            root.draw(&text((*name).to_owned(), 17, (MARGIN, top)))?;
            root.draw(&Rectangle::new([(left, top), (left + length, top + BAR - 5)], colour.filled()))?;
            root.draw(&text(format!("{value:.2} {unit}"), 17, (left + length + 6, top)))?;
            top += BAR;
        }
        top += MARGIN;
    }
    root.draw(&text(format!("Medians. {machine}."), 15, (MARGIN, top)))?;
    root.present()?;
    Ok(())
}

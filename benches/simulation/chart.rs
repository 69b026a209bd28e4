//! Draws the number of parked events over time, and the time to empty the queue.

use plotters::prelude::*;

use crate::{DEFAULT_SCENARIO, Drain, ONE_CALL, Result, Scenario, TEN_CALLS, real};

const SIZE: (u32, u32) = (900, 760);
const MARGIN: u32 = 20;
const ONE_CALL_COLOUR: RGBColor = RGBColor(0x94, 0xa3, 0xb8);
const TEN_CALLS_COLOUR: RGBColor = RGBColor(0xc2, 0x41, 0x0c);
const INK: RGBColor = RGBColor(0x1e, 0x29, 0x3b);

/// The largest number of environments and the longest time that the second chart shows.
const MAX_ENVIRONMENTS: usize = 10;
const MAX_HOURS: f64 = 6.0;

/// The quotas that the second chart shows, each with the width of its lines.
const QUOTAS: [(f64, u32); 3] = [(1_200.0, 1), (2_400.0, 3), (10_000.0, 5)];

/// A line with its label and style.
struct Line {
    label: String,
    points: Vec<(f64, f64)>,
    style: ShapeStyle,
}

/// Draws both charts and writes them to an SVG file at this path.
pub fn draw(path: &str) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);

    let parked = drains().map(|(drain, colour)| {
        let parked = DEFAULT_SCENARIO.run(drain).parked.into_iter().enumerate();
        let points = parked.map(|(minute, parked)| (real(minute) / 60.0, real(parked) / 1e6)).collect();
        Line { label: drain.name.to_owned(), points, style: colour.stroke_width(3) }
    });
    let title = "Parked events, in millions: 1,000 deliveries a second, outage of 1 h, quota of 2,400 entries a second";
    panel(&upper, title, "hours since the outage began", (3.0, 4.0), &parked)?;

    let time = drains().map(|(drain, colour)| QUOTAS.map(|(quota, width)| time_to_empty(drain, quota, colour, width)));
    let title = "Hours until the queue is empty, after the outage, by the number of environments that drain it";
    panel(&lower, title, "environments", (real(MAX_ENVIRONMENTS), MAX_HOURS), time.as_flattened())?;
    root.present()?;
    Ok(())
}

fn drains() -> [(&'static Drain, RGBColor); 2] {
    [(&ONE_CALL, ONE_CALL_COLOUR), (&TEN_CALLS, TEN_CALLS_COLOUR)]
}

fn time_to_empty(drain: &Drain, quota: f64, colour: RGBColor, width: u32) -> Line {
    let hours = |environments| Scenario { quota, environments, ..DEFAULT_SCENARIO }.run(drain).to_empty;
    let points = (1..=MAX_ENVIRONMENTS).filter_map(|environments| Some((real(environments), hours(environments)?)));
    let points = points.filter(|(_, hours)| *hours <= MAX_HOURS).collect();
    Line { label: format!("{}, quota of {quota}", drain.name), points, style: colour.stroke_width(width) }
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    title: &str,
    x_title: &str,
    (x, y): (f64, f64),
    lines: &[Line],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(17))
        .margin(MARGIN)
        .x_label_area_size(40)
        .y_label_area_size(40)
        .build_cartesian_2d(0.0..x, 0.0..y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .axis_style(INK)
        .label_style(font(14))
        .x_desc(x_title)
        .x_label_formatter(&|value| value.to_string())
        .y_label_formatter(&|value| value.to_string())
        .draw()?;
    for Line { label, points, style } in lines {
        let style = *style;
        chart
            .draw_series([PathElement::new(points.clone(), style)])?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE)
        .label_font(font(14))
        .draw()?;
    Ok(())
}

//! Pictures for reports: charts of lines, as SVG.

use std::path::Path;

use anyhow::Result;
use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// As the legend has it.
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A chart of lines that have a scale in common.
#[derive(Debug, Clone)]
pub struct Chart {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub lines: Vec<Line>,
    /// Where something begins, and its name.
    pub marks: Vec<(f64, String)>,
    /// Whether each line of the scale is ten times the one before.
    pub logarithmic: bool,
}

const SIZE: (u32, u32) = (640, 340);
/// Colours that people who see few of them can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
/// How much wider a chart is than its lines, for the names of these.
const LEGEND: f64 = 1.3;
const FONT: (&str, u32) = ("sans-serif", 13);
const SMALL: (&str, u32) = ("sans-serif", 11);

/// Writes charts beside and below each other, so many in a row. Those in a row share their scale.
pub fn draw(path: &Path, columns: usize, charts: &[Chart]) -> Result<()> {
    let rows = charts.len().div_ceil(columns);
    let size = (SIZE.0 * columns as u32, SIZE.1 * rows as u32);
    let picture = SVGBackend::new(path, size).into_drawing_area();
    picture.fill(&WHITE)?;
    let areas = picture.split_evenly((rows, columns));
    for (row, areas) in charts.chunks(columns).zip(areas.chunks(columns)) {
        let points = || row.iter().flat_map(|chart| &chart.lines).flat_map(|line| &line.points);
        let until = points().map(|(x, _)| *x).fold(1.0, f64::max) * LEGEND;
        let high = points().map(|(_, y)| *y).fold(1.0, f64::max) * 1.1;
        for (chart, area) in row.iter().zip(areas) {
            match chart.logarithmic {
                true => chart.draw(area, until, (1.0, high), (1.0..high).log_scale())?,
                false => chart.draw(area, until, (0.0, high), 0.0..high)?,
            }
        }
    }
    Ok(picture.present()?)
}

impl Chart {
    fn draw<Y>(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        until: f64,
        (low, high): (f64, f64),
        scale: Y,
    ) -> Result<()>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..until, scale)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x).y_desc(self.y).label_style(FONT).axis_desc_style(FONT);
        mesh.max_light_lines(0).bold_line_style(BLACK.mix(0.12));
        mesh.x_label_formatter(&|x| format!("{x:.0}")).y_label_formatter(&|y| format!("{y:.0}"));
        mesh.draw()?;
        for (at, name) in &self.marks {
            let line = [(*at, low), (*at, high)];
            let words = EmptyElement::at((*at, high)) + Text::new(name.clone(), (3, 2), SMALL);
            chart.draw_series([PathElement::new(line, BLACK.mix(0.25))])?;
            chart.draw_series([words])?;
        }
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let drawn = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(drawn)?.label(&line.name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.85))
            .label_font(FONT)
            .draw()?;
        Ok(())
    }
}

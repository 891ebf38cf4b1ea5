//! Draws how many workers there were, second by second, as an SVG. Pure.

use std::fmt::Write;

use crate::{report::Replayed, run::Run};

const WIDTH: usize = 900;
/// Of one trace, with its title.
const HEIGHT: usize = 150;
const PLOT: (usize, usize) = (800, 96);
const LEFT: usize = 60;
const TOP: usize = 60;
const COLOURS: [&str; 3] = ["#1f6feb", "#e36209", "#8b949e"];

/// The picture.
pub fn picture(replayed: &[Replayed]) -> String {
    let height = TOP + HEIGHT * replayed.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Workers over time</text>\n"
    );
    if let Some(first) = replayed.first() {
        for (index, (run, colour)) in first.runs.iter().zip(COLOURS).enumerate() {
            let x = LEFT + 110 * index;
            write(&mut svg, &format!("<text x=\"{x}\" y=\"42\" fill=\"{colour}\">— {}</text>\n", run.name));
        }
    }
    for (index, trace) in replayed.iter().enumerate() {
        panel(&mut svg, trace, TOP + HEIGHT * index);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, replayed: &Replayed, top: usize) {
    let Replayed { name, trace, runs } = replayed;
    let ((width, height), bottom) = (PLOT, top + 24 + PLOT.1);
    let most = runs.iter().flat_map(|run| &run.workers).max().copied().unwrap_or(1).max(1);
    write(
        svg,
        &format!(
            "<text x=\"{LEFT}\" y=\"{}\"><tspan font-weight=\"bold\">{name}</tspan>: {}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most}</text><text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
             <text x=\"{}\" y=\"{bottom}\">{} min</text>\n\
             <path d=\"M{LEFT} {bottom}h{width}\" stroke=\"#ccc\"/>\n",
            top + 14,
            trace.about,
            LEFT - 8,
            bottom - height + 8,
            LEFT - 8,
            LEFT + width + 4,
            trace.ends / 60,
        ),
    );
    // Ours last, so that nothing hides it.
    for (run, colour) in runs.iter().zip(COLOURS).rev() {
        write(svg, &format!("<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\n", line(run, most, bottom)));
    }
}

fn line(run: &Run, most: u32, bottom: usize) -> String {
    let ((width, height), seconds) = (PLOT, run.workers.len().max(1));
    let y = |workers: u32| bottom - usize::try_from(workers).unwrap_or(0) * height / usize::try_from(most).unwrap_or(1);
    let mut path = String::new();
    let mut before = None;
    for (second, workers) in run.workers.iter().enumerate() {
        let x = LEFT + second * width / seconds;
        match before {
            None => write(&mut path, &format!("M{x} {}", y(*workers))),
            Some(before) if before != workers => write(&mut path, &format!("H{x}V{}", y(*workers))),
            Some(_) => {}
        }
        before = Some(workers);
    }
    path + &format!("H{}", LEFT + width)
}

fn write(text: &mut String, more: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{more}");
}

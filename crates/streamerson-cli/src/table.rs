//! Aligned columns for people.

use crate::{
    failure::Failure,
    human,
    output::{Output, Style},
    shown::printable,
};

/// What stands between two columns.
const GAP: &str = "  ";

/// Rows under a header. Numbers stand at the right of their column, all else at the left.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

/// One value, on one line.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
    is_number: bool,
}

/// How a value stands out or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Bold,
    Dim,
    Red,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: printable(&text.into()).into_owned(), tone: Tone::Plain, is_number: false }
    }

    /// A number. Zero stands back, since nothing is to be done about it.
    pub(crate) fn count(number: u64) -> Self {
        let cell = Self { is_number: true, ..Self::text(human::count(number)) };
        if number == 0 { cell.dim() } else { cell }
    }

    /// The place of a number that is not known, which is not the same as zero.
    pub(crate) fn unknown() -> Self {
        Self { is_number: true, ..Self::text("?") }.dim()
    }

    /// The place of a value that there is none of.
    pub(crate) fn none() -> Self {
        Self::text("-").dim()
    }

    /// Stands at the right of its column, as numbers do.
    pub(crate) fn right(self) -> Self {
        Self { is_number: true, ..self }
    }

    pub(crate) fn bold(self) -> Self {
        Self { tone: Tone::Bold, ..self }
    }

    pub(crate) fn dim(self) -> Self {
        Self { tone: Tone::Dim, ..self }
    }

    /// Something that wants a look, if it is so.
    pub(crate) fn red_if(self, is_bad: bool) -> Self {
        if is_bad { Self { tone: Tone::Red, ..self } } else { self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(header: [&'static str; N]) -> Self {
        Self { header, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    pub(crate) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let style = output.style;
        self.lines(style).iter().try_for_each(|line| output.line(line))
    }

    pub(crate) fn lines(&self, style: Style) -> Vec<String> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| row[column].width());
            cells.chain([self.header[column].len()]).max().unwrap_or(0)
        });
        let header: [Cell; N] = std::array::from_fn(|column| {
            let is_number = self.rows.iter().any(|row| row[column].is_number);
            Cell { is_number, ..Cell::text(self.header[column]) }.dim()
        });
        std::iter::once(&header).chain(&self.rows).map(|row| line(row, widths, style)).collect()
    }
}

fn line<const N: usize>(row: &[Cell; N], widths: [usize; N], style: Style) -> String {
    let mut line = String::new();
    // Spaces wait until something follows them: none stand at the end of a line.
    let mut spaces = 0;
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let padding = width - cell.width();
        let gap = if column == 0 { 0 } else { GAP.len() };
        spaces += gap + if cell.is_number { padding } else { 0 };
        if !cell.text.is_empty() {
            line.extend(std::iter::repeat_n(' ', spaces));
            let colour = match cell.tone {
                Tone::Plain => "",
                Tone::Bold => style.bold,
                Tone::Dim => style.dim,
                Tone::Red => style.red,
            };
            let reset = if colour.is_empty() { "" } else { style.reset };
            line.extend([colour, &cell.text, reset]);
            spaces = 0;
        }
        spaces += if cell.is_number { 0 } else { padding };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["NAME", "COUNT", "WORD"]);
        table.row([Cell::text("a").bold(), Cell::count(0), Cell::text("")]);
        table.row([Cell::text("längst"), Cell::count(12_345), Cell::text("x").red_if(true)]);
        table.row([Cell::none(), Cell::unknown(), Cell::none()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_a_space() {
        let expected = ["NAME     COUNT  WORD", "a            0", "längst  12,345  x", "-            ?  -"];
        assert_eq!(table().lines(Style::PLAIN), expected);
    }

    #[test]
    fn colours_take_no_room() {
        let style = Style { bold: "<b>", dim: "<d>", red: "<r>", reset: "</>", ..Style::PLAIN };
        let lines = table().lines(style);
        assert_eq!(lines[1], "<b>a</>            <d>0</>");
        assert_eq!(lines[2], "längst  12,345  <r>x</>");
    }
}

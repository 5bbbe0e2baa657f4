//! Tables: with lines and colours and as wide as the terminal, or plain aligned text in a pipe. Cells are
//! made harmless here. An empty cell is `-`, so that every row has every column.

use comfy_table::{Attribute, Cell, Color, ContentArrangement};

use super::screen::{Meaning, Screen, harmless};

/// A table that grows row by row.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub(super) fn new(head: &[&'static str]) -> Self {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    /// One more row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        let cell = |cell: String| if cell.is_empty() { "-".to_owned() } else { harmless(&cell) };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// Writes it, or `otherwise` for a person if it has no row.
    pub(super) fn print(self, screen: &mut Screen, otherwise: &str) {
        if self.rows.is_empty() {
            if screen.terminal {
                screen.line(otherwise);
            }
            return;
        }
        let text = if screen.terminal { self.drawn(screen.colour) } else { self.plain() };
        screen.raw(text.as_bytes());
    }

    fn drawn(self, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if colour {
            table.enforce_styling();
        }
        let head = |title: &&str| {
            let cell = Cell::new(title);
            if colour { cell.add_attribute(Attribute::Bold) } else { cell }
        };
        table.set_header(self.head.iter().map(head).collect::<Vec<_>>());
        for row in self.rows {
            let paint = |content: String| match Meaning::of(&content).filter(|_| colour) {
                Some(Meaning::Good) => Cell::new(content).fg(Color::Green),
                Some(Meaning::Bad) => Cell::new(content).fg(Color::Red),
                Some(Meaning::Busy) => Cell::new(content).fg(Color::Cyan),
                Some(Meaning::Quiet) => Cell::new(content).fg(Color::DarkGrey),
                None => Cell::new(content),
            };
            table.add_row(row.into_iter().map(paint).collect::<Vec<_>>());
        }
        format!("{table}\n")
    }

    fn plain(self) -> String {
        let head: Vec<String> = self.head.iter().map(|&title| title.to_owned()).collect();
        let mut widths: Vec<usize> = vec![0; head.len()];
        for row in self.rows.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE", "REASON"]);
        table.row(vec!["a".to_owned(), "enabled".to_owned(), String::new()]);
        table.row(vec!["longer".to_owned(), "failed".to_owned(), "bad\x1b[2J".to_owned()]);
        table
    }

    #[test]
    fn plain_text_is_aligned_and_harmless() {
        assert_eq!(
            table().plain(),
            "NAME    STATE    REASON\na       enabled  -\nlonger  failed   bad\\u{1b}[2J\n"
        );
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert!(!table().drawn(false).contains('\x1b'));
        assert!(table().drawn(true).contains('\x1b'));
        assert!(table().drawn(false).contains('│'));
    }
}

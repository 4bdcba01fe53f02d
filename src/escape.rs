//! Text from images, registries and guests, made safe to show: nothing in it moves a terminal's cursor,
//! changes its colours or the order in which its characters stand.

use anyhow::Result;
use serde::Serialize;

/// The text in one line, with every character escaped that a terminal would act on.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A message of one or more lines. Lines after the first are indented, so that none can pass for a
/// message of its own.
pub fn message(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    lines.join("\n  ")
}

/// A value as JSON. JSON itself escapes the control characters of ASCII only.
pub fn json(value: &impl Serialize) -> Result<String> {
    let plain = serde_json::to_string_pretty(value)?;
    let mut json = String::with_capacity(plain.len());
    for c in plain.chars() {
        if acts(c) && c != '\n' {
            // All of them are below U+10000, and only strings hold such characters.
            json.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            json.push(c);
        }
    }
    Ok(json)
}

/// Whether a terminal acts on a character rather than showing it: controls, line and paragraph
/// separators, and marks that turn the direction of what follows (Unicode Standard Annex 9).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(escaped("é\x1b[2J\r\n"), "é\\u{1b}[2J\\u{d}\\u{a}");
        assert_eq!(escaped("\u{9b}2J\u{7f}"), "\\u{9b}2J\\u{7f}");
        assert_eq!(escaped("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn no_line_passes_for_another_message() {
        assert_eq!(
            message("it broke\nterrarium: all is well\x1b[A\r\n"),
            "it broke\n  terrarium: all is well\\u{1b}[A"
        );
    }

    #[test]
    fn json_means_the_same_and_shows_nothing() {
        let text = "é\u{9b}2J\u{7f}\u{202e}\x1b\n";
        let json = json(&[text]).unwrap();
        assert!(json.chars().all(|c| !acts(c) || c == '\n'), "{json}");
        let read: Vec<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, [text]);
    }
}

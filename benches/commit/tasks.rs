//! The documents that are put: tasks of about 1 KB, prepared before anything is measured.

use std::sync::Arc;

const DOCUMENT_BYTES: usize = 1024;

/// `count` tasks with ids of their own, each of about 1 KB of JSON text.
pub(crate) fn prepare(count: usize) -> Arc<[String]> {
    (0..count).map(task).collect()
}

fn task(number: usize) -> String {
    let head = format!(
        r#"{{"id":"task_{number:06}","name":"Measure commit {number}","status":"in_progress","created_at":"2025-06-01T12:00:00.123456789Z","assigned_to":"agent-{agent}","description":""#,
        agent = number % 64,
    );
    let tail = r#"","logs":[]}"#;
    let words = ["read", "the", "failing", "test", "and", "fix", "what", "it", "found", "then"];
    let mut text = head;
    let mut next = number;
    while text.len() + tail.len() < DOCUMENT_BYTES {
        text.push_str(words[next % words.len()]);
        text.push(' ');
        next = next.wrapping_mul(31).wrapping_add(7);
    }
    text.push_str(tail);
    text
}

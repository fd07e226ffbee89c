//! Small things done so that the program stays small, for whoever needs them.

use std::collections::BinaryHeap;

use serde_json::Value;

/// A text as JSON. (A [`Value`] shows itself too, but so that the program carries the code for indents, 13 KiB.)
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string in memory is always serializable")
}

/// A value as JSON.
pub fn json(value: &Value) -> String {
    serde_json::to_string(value).expect("a value in memory is always serializable")
}

/// A list in order, for lists that are short or seldom: each kind of element costs 400 bytes of program, and 4,500 with the
/// standard library's sort, which is a few times as fast.
pub fn sorted<T: Ord>(list: Vec<T>) -> Vec<T> {
    BinaryHeap::from(list).into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things() {
        assert_eq!(sorted(vec!["b", "c", "a", "b"]), ["a", "b", "b", "c"]);
        assert_eq!(json_string("a\"\n"), r#""a\"\n""#);
        assert_eq!(json(&serde_json::json!({"a": [1, null, "x"]})), r#"{"a":[1,null,"x"]}"#);
    }
}

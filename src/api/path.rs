//! Comparing paths.

/// The path without one trailing slash. Paths are compared in this form, ignoring case.
pub(super) fn normal(path: &str) -> &str {
    match path.strip_suffix('/') {
        None | Some("") => path,
        Some(rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!((normal("/a/"), normal("/"), normal("/a"), normal("")), ("/a", "/", "/a", ""));
    }
}

//! Every package that we depend on has a licence that we may use it under.
//!
//! The list of licences is the one in `deny.toml`, so `cargo deny` and this check cannot disagree.

use std::fs;

use crate::{Failure, cargo, metadata::Package};

/// Fails with one line for each package whose licence is missing or not on the list.
pub(crate) fn check(packages: &[Package]) -> Result<(), Failure> {
    let path = cargo::root().join("deny.toml");
    let settings = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let allowed = allow_list(&settings).ok_or("deny.toml holds no list `allow = […]` under `[licenses]`")?;
    let problems: Vec<String> = packages.iter().filter_map(|package| problem(package, &allowed)).collect();
    if !problems.is_empty() {
        return Err(format!("not on the list in deny.toml:\n  {}", problems.join("\n  ")));
    }
    eprintln!("{} packages, {} licences allowed", packages.len(), allowed.len());
    Ok(())
}

fn problem(package: &Package, allowed: &[&str]) -> Option<String> {
    let Package { name, version, licence, .. } = package;
    match licence.as_deref().map(|licence| (licence, satisfies(licence, allowed))) {
        Some((_, Some(true))) => None,
        Some((licence, Some(false))) => Some(format!("{name} {version}: {licence}")),
        Some((licence, None)) => Some(format!("{name} {version}: {licence:?} is no SPDX expression")),
        None => Some(format!("{name} {version}: states no licence")),
    }
}

/// The quoted names of the list `allow` under `[licenses]`. No more of TOML than that is read.
fn allow_list(settings: &str) -> Option<Vec<&str>> {
    let (_, licences) = settings.split_once("\n[licenses]")?;
    let (_, list) = licences.split_once("\nallow = [")?;
    let (list, _) = list.split_once(']')?;
    Some(list.split('"').skip(1).step_by(2).collect())
}

/// Whether an SPDX expression can be met with allowed licences alone; `None` when it is not one.
fn satisfies(expression: &str, allowed: &[&str]) -> Option<bool> {
    // Old manifests write `MIT/Apache-2.0` and mean OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens = spaced.split_whitespace().peekable();
    let met = any_of(&mut tokens, allowed)?;
    tokens.next().is_none().then_some(met)
}

type Tokens<'a, I> = std::iter::Peekable<I>;

/// `a OR b …`, the weakest binding.
fn any_of<'a>(tokens: &mut Tokens<'a, impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    let mut met = all_of(tokens, allowed)?;
    while tokens.next_if_eq(&"OR").is_some() {
        met |= all_of(tokens, allowed)?;
    }
    Some(met)
}

/// `a AND b …`.
fn all_of<'a>(tokens: &mut Tokens<'a, impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    let mut met = one(tokens, allowed)?;
    while tokens.next_if_eq(&"AND").is_some() {
        met &= one(tokens, allowed)?;
    }
    Some(met)
}

/// A licence, with its exception if it has one, or an expression in parentheses.
fn one<'a>(tokens: &mut Tokens<'a, impl Iterator<Item = &'a str>>, allowed: &[&str]) -> Option<bool> {
    match tokens.next()? {
        "(" => {
            let met = any_of(tokens, allowed)?;
            tokens.next_if_eq(&")").map(|_| met)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        licence if tokens.next_if_eq(&"WITH").is_some() => {
            // An exception only permits more, but which one is a choice: the list names the pair.
            let exception = tokens.next()?;
            let pair = format!("{licence} WITH {exception}");
            Some(allowed.contains(&licence) || allowed.contains(&pair.as_str()))
        }
        licence => Some(allowed.contains(&licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: [&str; 3] = ["MIT", "Apache-2.0", "Unicode-3.0"];

    #[test]
    fn expressions_are_read_with_their_precedence() {
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "GPL-3.0 AND BSD-4-Clause OR MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "((MIT))",
        ] {
            assert_eq!(satisfies(met, &ALLOWED), Some(true), "{met}");
        }
        for unmet in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR AGPL-3.0)", "GPL-3.0 OR MIT AND AGPL-3.0"] {
            assert_eq!(satisfies(unmet, &ALLOWED), Some(false), "{unmet}");
        }
    }

    #[test]
    fn what_is_no_expression_is_not_met() {
        for broken in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT GPL-3.0", "MIT WITH", "see file"] {
            assert_eq!(satisfies(broken, &ALLOWED), None, "{broken:?}");
        }
    }

    #[test]
    fn the_list_comes_from_deny_toml() {
        let settings = "[bans]\nallow = [\"x\"]\n\n[licenses]\nconfidence = 1\nallow = [\n  \"MIT\",\n  \"ISC\",\n]\n";
        assert_eq!(allow_list(settings), Some(vec!["MIT", "ISC"]));
        assert_eq!(allow_list("[bans]\nallow = [\"x\"]\n"), None);
    }
}

//! CPU, memory and other resources of a pod's only container, checked by the rules the API server has for them. Pure.
//!
//! What the API server would refuse is refused here, where the problem can name the field of the collection that asked:
//! a router's resources come from several collections, and its Deployment's refusal names none.
//!
//! Invariant: resources that pass are accepted in a pod template, alone and after [`larger`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use shoal_crds::conditions::reason;

use crate::error::Problem;
use crate::quantity;

/// Amounts by the name of their resource.
type Amounts = BTreeMap<String, Quantity>;

/// Resources with default requests where none are given; refuses what no pod may have.
pub fn resources(
    field: &str,
    given: Option<ResourceRequirements>,
    default_requests: &[(&str, &str)],
) -> Result<ResourceRequirements, Problem> {
    let Some(given) = given else { return Ok(defaulted(default_requests)) };
    check(&given).map_err(|what| Problem::new(reason::INVALID_SPEC, format!("{field}{what}")))?;
    Ok(given)
}

/// Resources of a pod that is given none.
pub fn defaulted(requests: &[(&str, &str)]) -> ResourceRequirements {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), Quantity((*value).to_owned()));
    ResourceRequirements {
        requests: Some(requests.iter().map(owned).collect()),
        ..ResourceRequirements::default()
    }
}

/// What is wrong, after the name of the field that holds the resources.
fn check(given: &ResourceRequirements) -> Result<(), String> {
    if given.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Err(".claims: dynamic resources are not supported: leave it out".to_owned());
    }
    let (none, empty) = (Amounts::new(), Amounts::new());
    let requests = given.requests.as_ref().unwrap_or(&none);
    let limits = given.limits.as_ref().unwrap_or(&empty);
    for (part, amounts) in [("requests", requests), ("limits", limits)] {
        for (name, amount) in amounts {
            check_amount(name, amount).map_err(|what| format!(".{part}: {what}"))?;
        }
    }
    for (name, request) in requests {
        check_pair(name, request, limits.get(name))?;
    }
    let mut names = requests.keys().chain(limits.keys()).map(String::as_str);
    if names.clone().any(is_huge_pages) && !names.any(|name| name == "cpu" || name == "memory") {
        return Err(": hugepages need cpu or memory beside them: give an amount of one".to_owned());
    }
    Ok(())
}

fn check_amount(name: &str, amount: &Quantity) -> Result<(), String> {
    let text = &amount.0;
    if !is_resource_name(name) {
        return Err(format!(
            "`{name}` is no resource of a container: use cpu, memory, ephemeral-storage, hugepages-<size> or one with \
             a domain, such as example.com/device"
        ));
    }
    let Some(value) = quantity::parse(text) else {
        return Err(format!("`{text}` is no amount of {name}: use one such as 500m or 1Gi"));
    };
    if value < 0 {
        return Err(format!("`{text}` of {name} is less than nothing: use 0 or more"));
    }
    if !can_be_overcommitted(name) && value % quantity::ONE != 0 {
        return Err(format!("`{text}` of {name} is not whole: use a whole number"));
    }
    Ok(())
}

fn check_pair(name: &str, request: &Quantity, limit: Option<&Quantity>) -> Result<(), String> {
    let (asked, most) = (quantity::parse(&request.0), limit.and_then(|l| quantity::parse(&l.0)));
    if can_be_overcommitted(name) {
        return match (limit, asked > most) {
            (Some(limit), true) => Err(format!(
                ": the request of {name}, {}, is above its limit, {}: lower the one or raise the other",
                request.0, limit.0
            )),
            _ => Ok(()),
        };
    }
    if asked == most {
        return Ok(());
    }
    Err(format!(
        ": {name} cannot be overcommitted: give a limit equal to its request, {}",
        request.0
    ))
}

/// Whether pods may ask less of a resource than they may use.
fn can_be_overcommitted(name: &str) -> bool {
    !is_huge_pages(name) && (!name.contains('/') || is_native(name))
}

fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// Resources of Kubernetes itself have no domain, or its.
fn is_native(name: &str) -> bool {
    name.contains("kubernetes.io/")
}

const HUGE_PAGES: &str = "hugepages-";

/// Whether a container may have a resource of this name.
fn is_resource_name(name: &str) -> bool {
    match name.split_once('/') {
        None => {
            ["cpu", "memory", "ephemeral-storage"].contains(&name)
                || name.strip_prefix(HUGE_PAGES).is_some_and(|size| {
                    is_label_value(name) && quantity::parse(size).is_some_and(|size| size > 0)
                })
        }
        // Of a quota, resources are named `requests.` and the name, so that has no place in the name itself.
        Some((domain, rest)) => {
            !domain.starts_with("requests.") && is_domain(domain) && is_label_value(rest)
        }
    }
}

/// At most 63 letters, digits, `-`, `_` and `.`, with a letter or digit first and last.
fn is_label_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A DNS subdomain, with room left for the prefix a quota puts before it.
fn is_domain(text: &str) -> bool {
    let part = |part: &str| {
        is_label_value(part)
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 253 - "requests.".len() && text.split('.').all(part)
}

/// What is enough for two: the larger request of each resource, and the larger limit; no limit is the largest, save of
/// what cannot be overcommitted, where a pod without a limit has none of it.
pub fn larger(left: ResourceRequirements, right: ResourceRequirements) -> ResourceRequirements {
    let either = |left, right| merge(left, right, |_| true);
    let both = |left, right| merge(left, right, |name| !can_be_overcommitted(name));
    let requests = either(requests_of(&left), requests_of(&right));
    let limits = both(left.limits.unwrap_or_default(), right.limits.unwrap_or_default());
    ResourceRequirements {
        requests: Some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        ..ResourceRequirements::default()
    }
}

/// What a pod requests: what has a limit and no request is requested up to the limit.
fn requests_of(given: &ResourceRequirements) -> Amounts {
    let mut amounts = given.limits.clone().unwrap_or_default();
    amounts.extend(given.requests.clone().unwrap_or_default());
    amounts
}

/// The larger of each amount; what only one side has stays where `stays` says so.
fn merge(mut left: Amounts, right: Amounts, stays: impl Fn(&str) -> bool) -> Amounts {
    left.retain(|name, _| stays(name) || right.contains_key(name));
    for (name, amount) in right {
        match left.remove(&name) {
            Some(other) => {
                left.insert(name, larger_quantity(other, amount));
            }
            None if stays(&name) => {
                left.insert(name, amount);
            }
            None => {}
        }
    }
    left
}

fn larger_quantity(left: Quantity, right: Quantity) -> Quantity {
    if quantity::parse(&left.0) < quantity::parse(&right.0) { right } else { left }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amounts(pairs: &[(&str, &str)]) -> Option<Amounts> {
        let owned =
            |(name, amount): &(&str, &str)| ((*name).to_owned(), Quantity((*amount).to_owned()));
        (!pairs.is_empty()).then(|| pairs.iter().map(owned).collect())
    }

    fn of(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        ResourceRequirements {
            requests: amounts(requests),
            limits: amounts(limits),
            ..ResourceRequirements::default()
        }
    }

    fn refusal(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> String {
        let problem = resources("spec.x", Some(of(requests, limits)), &[]).expect_err("refused");
        assert_eq!(problem.reason, reason::INVALID_SPEC);
        assert!(problem.message.starts_with("spec.x"), "{}", problem.message);
        problem.message
    }

    #[test]
    fn what_pods_may_have_passes() {
        for (requests, limits) in [
            (&[("cpu", "500m"), ("memory", "1Gi")][..], &[("memory", "1024Mi")][..]),
            (&[], &[("cpu", "2"), ("example.com/gpu", "1")]),
            (&[("hugepages-2Mi", "4Mi"), ("cpu", "1")], &[("hugepages-2Mi", "4Mi")]),
            (&[("ephemeral-storage", "1Gi")], &[]),
        ] {
            check(&of(requests, limits)).expect("passes");
        }
    }

    #[test]
    fn what_no_pod_may_have_is_refused_and_says_what_to_do() {
        assert!(refusal(&[("cpu", "lots")], &[]).contains("`lots` is no amount of cpu"));
        assert!(refusal(&[], &[("memory", "-1Gi")]).contains("less than nothing"));
        assert!(refusal(&[("cpu", "2")], &[("cpu", "1")]).contains("above its limit"));
        assert!(refusal(&[("gpu", "1")], &[]).contains("`gpu` is no resource"));
        for name in ["CPU", "", "/x", "example.com/", "a b/c", "requests.example.com/x", "a/b/c"] {
            assert!(refusal(&[], &[(name, "1")]).contains("is no resource"), "{name}");
        }
        assert!(refusal(&[("cpu", "1"), ("hugepages-2Mi", "2Mi")], &[]).contains("a limit equal"));
        assert!(
            refusal(&[("example.com/gpu", "1")], &[("example.com/gpu", "2")]).contains("equal")
        );
        assert!(refusal(&[], &[("example.com/gpu", "500m")]).contains("whole"));
        assert!(refusal(&[], &[("hugepages-2Mi", "2Mi")]).contains("cpu or memory"));
        let mut claims = of(&[], &[]);
        claims.claims = Some(vec![Default::default()]);
        assert!(check(&claims).expect_err("refused").contains(".claims"));
    }

    /// Resources that pass.
    fn any_resources() -> impl Strategy<Value = ResourceRequirements> {
        let name = proptest::sample::select(vec!["cpu", "memory", "hugepages-2Mi", "a.example/b"]);
        let some = proptest::collection::btree_map(name, 0u32..4, 0..4);
        let owned = |some: BTreeMap<&str, u32>| -> Option<Amounts> {
            Some(some.into_iter().map(|(n, a)| (n.to_owned(), Quantity(a.to_string()))).collect())
        };
        (some.clone(), some)
            .prop_map(move |(requests, limits)| ResourceRequirements {
                requests: owned(requests),
                limits: owned(limits),
                ..ResourceRequirements::default()
            })
            .prop_filter("passes", |resources| check(resources).is_ok())
    }

    proptest! {
        #[test]
        fn what_is_enough_for_two_that_pass_passes(left in any_resources(), right in any_resources()) {
            prop_assert_eq!(check(&larger(left, right)), Ok(()));
        }
    }
}

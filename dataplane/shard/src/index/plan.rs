//! A filter, made ready to be asked of indexes.
//!
//! Key paths are parsed once a request; then each segment answers with what its indexes know, in one pass over the
//! filter. What no index knows is left open, and [`Answer`] keeps count of that.

use shoal_vector::filter::{Condition, Test};
use shoal_vector::payload::KeyPath;
use shoal_vector::{Filter, PointId};

use super::answer::Answer;
use super::bits::Bits;
use super::field::FieldIndex;

/// What is asked: the indexes of some points, numbered from 0.
pub(crate) trait Source {
    /// Number of points.
    fn len(&self) -> u32;

    /// The index of a field, if it is ready.
    fn field(&self, path: &KeyPath) -> Option<&FieldIndex>;

    /// Which of the points have one of these ids.
    fn with_ids(&self, ids: &[PointId]) -> Bits;
}

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Plan<'f> {
    must: Vec<Node<'f>>,
    should: Vec<Node<'f>>,
    must_not: Vec<Node<'f>>,
}

#[derive(Debug)]
enum Node<'f> {
    Test(KeyPath, &'f Test),
    HasId(&'f [PointId]),
    IsEmpty(KeyPath),
    IsNull(KeyPath),
    Filter(Plan<'f>),
    MinShould(Vec<Node<'f>>, usize),
    /// Of an element of an array: what some element must pass, each part by itself.
    Nested(Plan<'f>),
    /// No index answers it.
    Open,
}

/// What tests of texts compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Tokens, where a field has a full-text index.
    ByTokens,
    /// Texts as they are written, whatever is indexed.
    AsWritten,
}

impl<'f> Plan<'f> {
    /// A plan for a filter that a matcher was made of, so its depth is bounded.
    pub(crate) fn of(filter: &'f Filter, texts: Texts) -> Self {
        let all = |conditions: &'f [Condition]| Node::all(conditions, texts);
        Self {
            must: all(&filter.must),
            should: all(&filter.should),
            must_not: all(&filter.must_not),
        }
    }

    /// A plan for a filter on elements that a path leads to. What one element passes, the point passes part by part,
    /// but for parts that an element passes for lack of something.
    fn of_elements(filter: &'f Filter, elements: &KeyPath, texts: Texts) -> Self {
        let node = |condition| Node::of_element(condition, elements, texts);
        let nodes = |conditions: &'f [Condition]| conditions.iter().map(node).collect();
        let must_not = filter.must_not.iter().map(|_| Node::Open).collect();
        Self { must: nodes(&filter.must), should: nodes(&filter.should), must_not }
    }

    /// Whether it is one test of one field.
    fn is_one_test(&self) -> bool {
        matches!(self.must[..], [Node::Test(..)])
            && self.should.is_empty()
            && self.must_not.is_empty()
    }

    /// Which points may pass.
    pub(crate) fn answer(&self, source: &impl Source) -> Answer {
        let mut answer = Answer::ALL;
        for node in &self.must {
            answer = answer.and(node.answer(source));
        }
        for node in &self.must_not {
            answer = answer.and(node.answer(source).not(source.len()));
        }
        if !self.should.is_empty() {
            let none = Answer::exactly(Bits::none(source.len()));
            let any = self.should.iter().fold(none, |any, node| any.or(node.answer(source)));
            answer = answer.and(any);
        }
        answer
    }
}

impl Texts {
    /// Whether indexes compare something else than is to be compared.
    fn leave_open(self, test: &Test) -> bool {
        self == Texts::AsWritten
            && matches!(test, Test::Text(_) | Test::TextAny(_) | Test::Phrase(_))
    }
}

impl<'f> Node<'f> {
    fn all(conditions: &'f [Condition], texts: Texts) -> Vec<Self> {
        conditions.iter().map(|condition| Node::of(condition, texts)).collect()
    }

    fn of(condition: &'f Condition, texts: Texts) -> Self {
        let with =
            |key: &str, make: &dyn Fn(KeyPath) -> Node<'f>| key.parse().map_or(Node::Open, make);
        match condition {
            Condition::Field { test, .. } if texts.leave_open(test) => Node::Open,
            Condition::Field { key, test } => with(key, &|path| Node::Test(path, test)),
            Condition::HasId(ids) => Node::HasId(ids),
            Condition::IsEmpty(key) => with(key, &Node::IsEmpty),
            Condition::IsNull(key) => with(key, &Node::IsNull),
            Condition::Filter(inner) => Node::Filter(Plan::of(inner, texts)),
            Condition::MinShould(inner) => {
                let least = usize::try_from(inner.min_count).unwrap_or(usize::MAX);
                Node::MinShould(Node::all(&inner.conditions, texts), least)
            }
            Condition::Nested(inner) => with(&inner.key, &|path| {
                Node::Nested(Plan::of_elements(&inner.filter, &path.elements(), texts))
            }),
            // It costs nothing to ask a point.
            Condition::HasVector(_) => Node::Open,
        }
    }

    fn of_element(condition: &'f Condition, elements: &KeyPath, texts: Texts) -> Self {
        let with = |key: &str, make: &dyn Fn(KeyPath) -> Node<'f>| {
            key.parse().map_or(Node::Open, |path: KeyPath| make(path.under(elements)))
        };
        match condition {
            Condition::Field { test, .. } if texts.leave_open(test) => Node::Open,
            // An element without the key passes these.
            Condition::Field { test: Test::IsEmpty(true) | Test::IsNull(false), .. } => Node::Open,
            Condition::Field { key, test } => with(key, &|path| Node::Test(path, test)),
            Condition::IsNull(key) => with(key, &Node::IsNull),
            Condition::Filter(inner) => Node::Filter(Plan::of_elements(inner, elements, texts)),
            Condition::Nested(inner) => with(&inner.key, &|path| {
                Node::Nested(Plan::of_elements(&inner.filter, &path.elements(), texts))
            }),
            Condition::IsEmpty(_)
            | Condition::MinShould(_)
            | Condition::HasId(_)
            | Condition::HasVector(_) => Node::Open,
        }
    }

    fn answer(&self, source: &impl Source) -> Answer {
        let field = |path, ask: &dyn Fn(&FieldIndex) -> Answer| {
            source.field(path).map_or(Answer::UNKNOWN, ask)
        };
        match self {
            Node::Test(path, test) => field(path, &|index| index.test(test)),
            Node::HasId(ids) => Answer::exactly(source.with_ids(ids)),
            Node::IsEmpty(path) => field(path, &FieldIndex::is_empty),
            Node::IsNull(path) => field(path, &FieldIndex::is_null),
            Node::Filter(inner) => inner.answer(source),
            Node::MinShould(nodes, least) => {
                let answers: Vec<Answer> = nodes.iter().map(|node| node.answer(source)).collect();
                Answer::at_least(&answers, *least, source.len())
            }
            Node::Nested(plan) => {
                let answer = plan.answer(source);
                match answer.most {
                    Some(bits) if !plan.is_one_test() => Answer::at_most(bits),
                    most => Answer { most, exact: plan.is_one_test() && answer.exact },
                }
            }
            Node::Open => Answer::UNKNOWN,
        }
    }
}

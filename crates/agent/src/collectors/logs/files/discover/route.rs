//! How far into each pattern a path has come: directories that no pattern leads into are not looked at.

use std::{ffi::OsStr, path::Path};

use super::{
    Pattern,
    pattern::{Form, Part},
};

/// Endings of files that hold compressed bytes and not lines.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "zip"];

/// The forms of all patterns of a kind, and which pattern each belongs to.
#[derive(Debug, Clone, Default)]
struct Forms {
    forms: Vec<(usize, Form)>,
    /// Wildcards stand for a dot at the beginning, too.
    hidden: bool,
}

/// The patterns, ready to be followed name by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    include: Forms,
    exclude: Forms,
}

/// The parts that the next name may match: of which form, and which part of it.
type Places = Vec<(u32, u32)>;

/// How far a directory's path leads into the patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Route {
    include: Places,
    exclude: Places,
}

/// What a name in a directory is to the patterns.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// How far it leads, when it is a directory.
    route: Route,
    /// Patterns that match it, when it is a file.
    matched: Vec<usize>,
    excluded: bool,
    /// A directory of this name is left out with all that is in it.
    pruned: bool,
    compressed: bool,
}

impl Routes {
    pub(super) fn new(include: &[Pattern], exclude: &[Pattern]) -> Self {
        Self { include: Forms::new(include, false), exclude: Forms::new(exclude, true) }
    }

    /// The root directory's route.
    pub(super) fn start(&self) -> Route {
        Route { include: self.include.start(), exclude: self.exclude.start() }
    }

    /// Goes on by one name. `step` is used again and again, so that a name which nothing matches costs no memory.
    pub(super) fn step(&self, route: &Route, name: &OsStr, step: &mut Step) {
        step.matched.clear();
        step.route.include.clear();
        step.route.exclude.clear();
        step.excluded = false;
        step.pruned = false;
        self.include.step(&route.include, name, &mut step.route.include, |form| {
            step.matched.push(self.include.forms[form].0);
        });
        if step.matched.is_empty() && step.route.include.is_empty() {
            return;
        }

        step.compressed = is_compressed(name);
        self.exclude.step(&route.exclude, name, &mut step.route.exclude, |form| {
            step.excluded = true;
            step.pruned |= matches!(self.exclude.forms[form].1.last(), Some(Part::Name(_)));
        });
        step.pruned |= step.route.exclude.iter().any(|place| self.exclude.takes_all(*place));
    }

    /// The names that are looked for in a directory, when none but these are: it needs no listing.
    pub(super) fn names(&self, route: &Route) -> Option<Vec<&OsStr>> {
        let names = route.include.iter().map(|place| match self.include.part(*place) {
            Some(Part::Name(name)) => Some(name.as_os_str()),
            _ => None,
        });
        names.collect()
    }

    /// The names that are looked for as they are in a directory.
    pub(super) fn plain_names(&self, route: &Route) -> Vec<&OsStr> {
        let name = |place: &(u32, u32)| match self.include.part(*place) {
            Some(Part::Name(name)) => Some(name.as_os_str()),
            _ => None,
        };
        route.include.iter().filter_map(name).collect()
    }

    /// Whether a file at this path is to be read.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let mut route = self.start();
        let mut step = Step::default();
        let mut names = path.components().filter_map(|part| match part {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        });
        let Some(last) = names.next_back() else { return false };
        for name in names {
            self.step(&route, name, &mut step);
            if !step.leads_on() {
                return false;
            }
            route = step.route.clone();
        }
        self.step(&route, last, &mut step);
        step.is_wanted()
    }
}

impl Step {
    /// Whether a file of this name is to be read.
    pub(super) fn is_wanted(&self) -> bool {
        !self.matched.is_empty() && !self.excluded && !self.compressed
    }

    /// Whether patterns lead into a directory of this name.
    pub(super) fn leads_on(&self) -> bool {
        !self.route.include.is_empty() && !self.pruned
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// The patterns that match a file of this name.
    pub(super) fn matched(&self) -> &[usize] {
        &self.matched
    }
}

impl Forms {
    fn new(patterns: &[Pattern], hidden: bool) -> Self {
        let of = |(index, pattern): (usize, &Pattern)| {
            pattern.forms().iter().map(move |form| (index, form.clone())).collect::<Vec<_>>()
        };
        Self { forms: patterns.iter().enumerate().flat_map(of).collect(), hidden }
    }

    fn start(&self) -> Places {
        let mut places = Places::new();
        for form in 0..self.forms.len() {
            self.enter((form as u32, 0), &mut places);
        }
        places
    }

    fn part(&self, (form, part): (u32, u32)) -> Option<&Part> {
        self.forms.get(form as usize)?.1.get(part as usize)
    }

    /// Adds a place, and those behind a `**` that stands for no directory.
    fn enter(&self, place: (u32, u32), places: &mut Places) {
        let mut place = place;
        while let Some(part) = self.part(place) {
            if !places.contains(&place) {
                places.push(place);
            }
            if *part != Part::Directories {
                return;
            }
            place.1 += 1;
        }
    }

    fn step(&self, from: &Places, name: &OsStr, to: &mut Places, mut ends: impl FnMut(usize)) {
        for place in from {
            let Some(part) = self.part(*place).filter(|part| part.matches(name, self.hidden)) else {
                continue;
            };
            let next = (place.0, place.1 + 1);
            let is_last = self.part(next).is_none();
            if is_last {
                ends(place.0 as usize);
            }
            if *part == Part::Directories {
                self.enter(*place, to);
            } else if !is_last {
                self.enter(next, to);
            }
        }
        to.sort_unstable();
    }

    /// Whether everything below is matched.
    fn takes_all(&self, (form, part): (u32, u32)) -> bool {
        let rest = self.forms.get(form as usize).and_then(|(_, form)| form.get(part as usize..));
        match rest {
            Some([Part::Directories]) => true,
            Some([Part::Directories, Part::Glob(glob)]) => glob.takes_all(),
            _ => false,
        }
    }
}

fn is_compressed(name: &OsStr) -> bool {
    Path::new(name).extension().and_then(|end| end.to_str()).is_some_and(|end| COMPRESSED.contains(&end))
}

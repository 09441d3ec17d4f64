// How the search orders its hits: guides first, lists of changes last. The other numbers are Sphinx's own.
const PLACES = [[/^docs\/(tutorial|install)/, 12], [/^docs\/guides\//, 12], [/^docs\//, 0], [/^CHANGELOG/, -12], [/./, -4]];

var Scorer = {
  score: ([docname, title, anchor, description, score]) => score + PLACES.find(([place]) => place.test(docname))[1],
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

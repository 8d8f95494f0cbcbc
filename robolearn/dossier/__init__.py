"""Evidence of a training: audit trail, lineage, decisions of people, explanations, and the page that shows them."""

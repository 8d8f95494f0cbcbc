// Runs before the page's own scripts: collects everything that goes wrong.
window.problems = [];
addEventListener("error", e => problems.push("error: " + e.message));
addEventListener("unhandledrejection", e => problems.push("rejection: " + e.reason));
addEventListener("securitypolicyviolation", e => problems.push("blocked: " + e.blockedURI));
for (const level of ["error", "warn"]) {
  const old = console[level];
  console[level] = (...words) => { problems.push(`${level}: ${words.join(" ")}`); old(...words); };
}

"use strict";

const base = new URL(".", location.href).pathname;

// The document as the page shows it: the session's cookie is the browser's business and asks for no value, and the
// problems that every operation may answer with do not bury what it is for.
function forReading(spec) {
  delete spec.components.securitySchemes.session;
  nameSubsystem(spec);
  // Links of the text lead below the prefix that the page itself has.
  spec.info.description = spec.info.description?.replaceAll("](/", `](${base}`);
  for (const path of Object.values(spec.paths)) {
    for (const operation of Object.values(path)) {
      if (!operation.responses) continue;
      if (operation.security) operation.security = operation.security.filter((each) => !("session" in each));
      const problems = Object.keys(operation.responses).filter((status) => Number(status) >= 400);
      if (problems.length < 2) continue;
      problems.forEach((status) => delete operation.responses[status]);
      operation.responses.default = { description: `A problem document (${problems.join(", ")})` };
    }
  }
  return spec;
}

// Examples that name a storage system name one that there is.
function nameSubsystem(spec) {
  const known = spec.paths["/v4/{subsystem}/volumes"]?.parameters?.find((each) => each.name === "subsystem")?.schema?.enum;
  const content = spec.paths["/v4/batches"]?.post?.requestBody?.content?.["application/json"];
  if (!known?.length || known.includes("dummy") || !content?.examples) return;
  content.examples = JSON.parse(JSON.stringify(content.examples).replaceAll("/v4/dummy/", `/v4/${known[0]}/`)
    .replaceAll('"subsystem":"dummy"', `"subsystem":${JSON.stringify(known[0])}`));
}

// A change answers with its job: a link to it stands at the top of the page. Refusals may name another job.
function showJob(response) {
  const job = response.ok && (response.headers["operation-location"] || "").match(/\/v4\/jobs\/([0-9a-f-]{36})/);
  if (!job) return response;
  const link = document.createElement("a");
  link.href = `console/jobs/${job[1]}`;
  link.textContent = "Its job";
  document.getElementById("job").replaceChildren("Accepted. ", link);
  return response;
}

fetch("openapi.json")
  .then((answer) => answer.json())
  .then((spec) => {
    window.ui = SwaggerUIBundle({
      spec: forReading(spec),
      dom_id: "#swagger-ui",
      deepLinking: true,
      docExpansion: "list",
      displayRequestDuration: true,
      filter: true,
      defaultModelsExpandDepth: 0,
      persistAuthorization: false,
      validatorUrl: null,
      withCredentials: true,
      responseInterceptor: showJob,
    });
  });

fetch("conf/me/roles", { credentials: "same-origin" })
  .then((answer) => (answer.ok ? answer.json() : []))
  .then((roles) => {
    document.getElementById("who").textContent = roles.length ? `Your roles: ${roles.join(", ")}` : "No roles";
  });

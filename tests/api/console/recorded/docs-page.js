// In the place of Swagger UI and the network: what the page of the documentation makes of what the service answers.
"use strict";
window.SwaggerUIBundle = (options) => options;
const operation = (statuses, rest = {}) => ({ responses: Object.fromEntries(statuses.map((each) => [each, {}])), ...rest });
const example = { for_each: { subsystem: "dummy", where: "name=dummy" }, request: { path: "/v4/dummy/volumes/{name}" } };
const requestBody = () => ({ content: { "application/json": { examples: { all: { value: example } } } } });
const document_ = (systems) => ({
  info: { description: "See [roles](/conf/roles) and [there](https://example.org/)." },
  components: { securitySchemes: { session: {}, bearer: {} } },
  paths: {
    "/v4/{subsystem}/volumes": {
      parameters: [{ name: "other" }, ...(systems ? [{ name: "subsystem", schema: { enum: systems } }] : [])],
      get: operation(["200", "304", "399", "400", "503"], { security: [{}, { session: [] }, { bearer: ["USER"] }] }),
    },
    "/v4/batches": { post: operation(["202", "422"], { requestBody: requestBody() }) },
  },
});
const answers = {
  "a system that is called dummy": [document_(["netapp", "dummy"]), ["USER", "ADMIN"]],
  "systems of other names": [document_(["n1", "n2"]), []],
  "no system, and nobody can tell who asks": [document_(), null],
};
window.scenarios = Object.keys(answers);
const name = decodeURIComponent(location.hash.slice(1));
window.fetch = async (url, options) => {
  log.push(`asks for ${url} ${JSON.stringify(options ?? {})}`);
  const [spec, roles] = answers[name];
  return url.startsWith("openapi") ? { json: async () => spec } : { ok: roles !== null, json: async () => roles };
};
window.log = [];
const job = "/storage/v4/jobs/01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90";
window.responses = [
  { ok: true, headers: {} }, { ok: false, headers: { "operation-location": job } },
  { ok: true, headers: { "operation-location": `${job}/x?y` } }, { ok: true, headers: { "operation-location": "/v4/jobs/1" } },
];

"use strict";

window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
  withCredentials: true,
});

fetch("/conf/me/roles", { credentials: "same-origin" })
  .then((answer) => (answer.ok ? answer.json() : []))
  .then((roles) => {
    document.getElementById("who").textContent = roles.length ? `Your roles: ${roles.join(", ")}` : "No roles";
  });

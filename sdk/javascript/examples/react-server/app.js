// What the server renders and the browser hydrates. Next.js does the same with a server component that passes `bootstrap` to a client component.
import { createElement as h } from "react";
import { FlagentClient } from "@flagent/realtime";
import { FlagentProvider, useFlag, useFlagentStatus, useVariant } from "@flagent/realtime/react";

const makeClient = () => new FlagentClient(window.location.origin);
const entity = { entityID: "user123", entityContext: { country: "DE" } };

export function Page({ bootstrap }) {
  return h(FlagentProvider, { client: makeClient, options: { bootstrap }, entity }, h(Checkout), h(Status));
}

function Checkout() {
  const flag = useFlag("new_checkout");
  const variant = useVariant("new_checkout");
  return h("main", null, h("p", { id: "flag" }, flag?.enabled ? "on" : "off"), h("p", { id: "variant" }, variant?.key ?? "none"));
}

function Status() {
  const { status, source } = useFlagentStatus();
  return h("p", { id: "status" }, `${status} ${source}`);
}

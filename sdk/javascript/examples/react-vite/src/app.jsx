import { useFlag, useFlagentStatus, useVariant } from "@flagent/realtime/react";

export function App() {
  const { status, source } = useFlagentStatus();
  return (
    <main>
      <p id="status">{status} {source}</p>
      <Checkout />
    </main>
  );
}

function Checkout() {
  const flag = useFlag("new_checkout");
  const variant = useVariant("new_checkout");
  return (
    <>
      <p id="flag">{flag?.enabled ? "on" : "off"}</p>
      <p id="variant">{variant?.key ?? "none"}</p>
    </>
  );
}

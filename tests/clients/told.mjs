// An error as the tests look at it: of which class it is, by the SDK's own exports, and what it says.
export function told(error, sdk) {
  const names = Object.keys(sdk).filter((name) => typeof sdk[name] === "function" && sdk[name] === error?.constructor);
  return {
    name: names[0] ?? error?.constructor?.name ?? String(error),
    message: error?.message,
    status: error?.status,
    code: error?.code,
    type: error?.type,
    param: error?.param,
    requestId: error?.requestID,
  };
}

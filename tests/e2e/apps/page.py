"""A page that writes into itself which protocol it came over."""

PAGE = """<!doctype html><title>gateway</title><p id="protocol"></p>
<script>
document.getElementById("protocol").textContent =
  "came over " + performance.getEntriesByType("navigation")[0].nextHopProtocol;
</script>"""


def handler(event, _context):
    return {"statusCode": 200, "headers": {"Content-Type": "text/html"}, "body": PAGE}

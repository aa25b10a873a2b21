import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Sends requests that expect 100 and prints a status for each: URL, then METHOD SIZE pairs; -1 is no body. */
class Expect {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        for (int at = 1; at < arguments.length; at += 2) {
            int size = Integer.parseInt(arguments[at + 1]);
            HttpRequest request =
                    HttpRequest.newBuilder(URI.create(arguments[0]))
                            .expectContinue(true)
                            .timeout(Duration.ofSeconds(15))
                            .method(
                                    arguments[at],
                                    size < 0
                                            ? HttpRequest.BodyPublishers.noBody()
                                            : HttpRequest.BodyPublishers.ofByteArray(new byte[size]))
                            .build();
            String outcome;
            try {
                outcome = String.valueOf(client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode());
            } catch (Exception error) {
                outcome = error.getClass().getSimpleName();
            }
            System.out.println(arguments[at] + " " + size + " " + outcome);
        }
        System.exit(0);
    }
}

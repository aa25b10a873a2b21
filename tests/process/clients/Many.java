import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** Asks COUNT times, AT_ONCE at a time, over HTTP/2; prints answered and failed: URL COUNT AT_ONCE */
class Many {
    static class Trusting implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String kind) {}

        public void checkServerTrusted(X509Certificate[] chain, String kind) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("jdk.internal.httpclient.disableHostnameVerification", "true");
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Trusting()}, new SecureRandom());
        HttpClient client =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_2).sslContext(context).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        AtomicInteger left = new AtomicInteger(Integer.parseInt(arguments[1]));
        AtomicInteger answered = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        Thread[] workers = new Thread[Integer.parseInt(arguments[2])];
        for (int at = 0; at < workers.length; at++) {
            workers[at] =
                    new Thread(
                            () -> {
                                while (left.getAndDecrement() > 0) {
                                    try {
                                        int status =
                                                client.send(request, HttpResponse.BodyHandlers.ofString())
                                                        .statusCode();
                                        (status == 200 ? answered : failed).incrementAndGet();
                                    } catch (Exception error) {
                                        failed.incrementAndGet();
                                    }
                                }
                            });
            workers[at].start();
        }
        for (Thread worker : workers) {
            worker.join();
        }
        System.out.println(answered.get() + " " + failed.get());
        System.exit(0);
    }
}
